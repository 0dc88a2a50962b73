"""Drivers behind small classes; each translates its driver's errors into ours at the door."""
