"""Kafka Connect: connectors from files, put in place and watched by its REST API."""
