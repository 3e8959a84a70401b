"""Answers on demand: why, when, what if, and what moves would help."""
