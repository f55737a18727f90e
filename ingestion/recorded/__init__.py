"""Recorded events: finding their files, reading them in order of time, loading them, sending them to Kafka."""
