"""What variants are worth: to those who saw them, and before anybody does."""
