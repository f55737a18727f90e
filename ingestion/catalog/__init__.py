"""Catalogues: where their files lie, what of them is new, and the products of both stores that come of it."""
