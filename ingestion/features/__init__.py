"""From events to feature rows: the declared aggregates, who an id is, sequences and what is turned to next."""
