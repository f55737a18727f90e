"""An invented shop: products, customers with tastes, and what they do. See :mod:`ingestion.commands.simulate`."""
