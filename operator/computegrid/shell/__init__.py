"""The shell around the core: kopf, the loop, the writes. No decision is made here."""
