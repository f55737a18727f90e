"""Whether every event that came in is accounted for: ledger, tables and Kafka compared."""
