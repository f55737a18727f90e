"""What ``python -m training`` runs: a module per command."""
