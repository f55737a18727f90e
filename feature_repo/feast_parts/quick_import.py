"""Feast without checks of types at run time, which were four of the five seconds of its import.

Feast decorates its classes with typeguard's ``typechecked``, which parses and compiles the source of each again every time. The
checks help who declares features, and ``feast apply`` imports Feast first: there they are made as ever.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def leave_feast_unchecked() -> None:
    """Have classes and functions of Feast that are imported from now on left as they are; those of others are checked.

    Where typeguard is missing, Feast is, too: Airflow's environment reads the settings without either.
    """
    if find_spec("typeguard") is None:
        return
    import typeguard

    checked = typeguard.typechecked

    def unless_of_feast(target: Any = None, **options: Any) -> Any:
        if getattr(target, "__module__", "").partition(".")[0] == "feast":
            return target
        return checked(target, **options)

    typeguard.typechecked = unless_of_feast
