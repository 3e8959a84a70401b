"""The grid in memory: tables fed by watches, read as one snapshot a cycle. No IO; the event loop owns it."""
