"""Notebooks for analysts, and the little code that they share: which data they read, how plots look, how they are run."""

import warnings

# A library that is imported with training would like widgets, which pages do not show.
warnings.filterwarnings("ignore", message="IProgress not found")
