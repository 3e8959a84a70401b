"""Who gives way: victims, and elastic jobs that shrink and grow."""
