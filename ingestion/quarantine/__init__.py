"""Refused events: why, where they are, and how they come back into the stream."""
