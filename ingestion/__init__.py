"""The shop's data on its way to both stores, and what watches it.

``commands`` is the way in. Sources: ``collector``, ``crm``, ``changes`` with ``connectors``, ``catalog``, ``recorded`` with
``exports``, ``simulator``. On the way: ``events``, ``features``, ``streaming``. Watching: ``health``, ``quarantine``,
``parity``, ``reconciliation``, ``validation``, ``outcomes``. Beside that: ``privacy``, ``warehouse``. What several of these
use lies directly here.
"""
