"""Which products are worth ranking for a visitor: the sources, what they know, and how that is learnt."""
