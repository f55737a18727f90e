"""The feature store's definitions, settings and stores, and what ingestion, training and serving share.

``features`` is what ``feast apply`` registers, derived from ``aggregates``; ``contract``, ``tables`` and ``settings`` (in
``sections``) declare the rest, and ``store`` opens it. ``feast_parts`` and ``warehouses`` are what Feast is given, ``online``
reads Redis, ``ranking`` computes what rankers look at, ``models`` notes which model serves, ``checks`` holds expectations and
reports.

Importing it makes Feast start quickly: see :mod:`feature_repo.feast_parts.quick_import`.
"""

from feature_repo.feast_parts.quick_import import leave_feast_unchecked

leave_feast_unchecked()
