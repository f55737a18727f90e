"""In which order candidates are shown: trees, their probabilities, and the search for better ones."""
