"""Measurements that anyone can repeat; each says in its own output what it measured and on what."""
