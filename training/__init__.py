"""Learning a recommender from the offline store, judging it, and answering with it.

``commands`` is the way in, ``pipeline`` the way through: from ``data`` to ``candidates`` and ``ranking``, which make a ``model``.
``recommending`` answers with it, by ``scenarios``; the service does nothing else. ``evaluation`` judges by what happened after
a moment, ``promotion`` decides which model serves, ``experiments`` compares what customers were shown.
"""
