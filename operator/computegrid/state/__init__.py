"""The grid in memory: tables fed by watches, read as one snapshot a cycle. No IO, one owner (the event loop)."""
