"""Changes of a shop's database, as Debezium sends them, as orders and products."""
