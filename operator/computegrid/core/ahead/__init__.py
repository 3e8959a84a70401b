"""The time ahead: projected ends, reservations, and the look forward."""
