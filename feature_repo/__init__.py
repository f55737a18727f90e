"""The feature store's definitions, settings and stores, and what ingestion, training and serving share.

Importing it makes Feast start quickly: see :mod:`feature_repo.quick_feast`.
"""

from feature_repo.quick_feast import leave_feast_unchecked

leave_feast_unchecked()
