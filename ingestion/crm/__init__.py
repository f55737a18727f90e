"""Customers and orders from REST APIs: pages, changes since last time, and their mapping to the contract."""
