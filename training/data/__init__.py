"""What is learnt from, out of the offline store: events, impressions, choices, and features as they were."""
