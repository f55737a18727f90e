"""What a recommender has to beat, one method per module."""
