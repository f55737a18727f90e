"""Feature tables as plain tables of a warehouse, for analysts and for Feast."""
