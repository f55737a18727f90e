"""What other systems exported, as files of contract events."""
