"""Notebooks for analysts, and the little code that they share: which data they read, how plots look, how they are run."""
