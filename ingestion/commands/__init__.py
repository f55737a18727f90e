"""What ``python -m ingestion`` runs: a module per command."""
