"""Recorded events: finding their files, reading them in order of time, sending them to Kafka."""
