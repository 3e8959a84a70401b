"""Nodes for clusters without machines: generated or read from files, created in bulk, and broken."""
