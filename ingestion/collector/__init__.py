"""The HTTP API that trackers send to: what it takes, and how that gets into Kafka."""
