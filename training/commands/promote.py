"""``python -m training promote``: the service is to answer with a stored version."""

from __future__ import annotations

import argparse

from feature_repo.errors import InputError
from feature_repo.models.promotions import in_force, promote

_EPILOG = """\
Nothing is compared: what was refused by `retrain` can be promoted, too. A running service takes the version within seconds.
Without VERSION, the latest that is stored. `python -m training models` lists them.

examples:
  python -m training promote 20260301040000-1a2b3c4d
  python -m training promote
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("version", nargs="?", metavar="VERSION", help="by default the latest")
    parser.add_argument("--why", default="by hand", metavar="TEXT", help="recorded with it")


def run(args: argparse.Namespace) -> int:
    """Promote."""
    from training.promotion.artefact import load_model, stored_versions
    from training.promotion.record import record_done

    stored = stored_versions()
    if not stored:
        raise InputError("no model is stored yet: `python -m training run`")
    version, before = args.version or stored[-1], in_force()
    load_model(version)  # what cannot be read is refused
    if version == before:
        print(f"{version} is promoted already")
        return 0
    promote(version, args.why, before)
    record_done("promote", version, "promoted", args.why)
    print(f"promoted {version}")
    return 0
