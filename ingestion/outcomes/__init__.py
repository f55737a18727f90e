"""What became of recommendations: answers joined to what was shown, clicked and bought."""
