"""``python -m training rollback``: the service is to answer with an earlier promoted version again."""

from __future__ import annotations

import argparse
import sys

from feature_repo.errors import InputError, ShelfwiseError
from feature_repo.models.promotions import go_back_to, promotions

_EPILOG = """\
A running service takes it within seconds. `python -m training models` lists the versions.

examples:
  python -m training rollback                            # to the promotion before the present one
  python -m training rollback 20260301040000-1a2b3c4d    # to that one, past those in between
  python -m training rollback --why "prices were wrong"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("version", nargs="?", metavar="VERSION", help="by default the one before")
    parser.add_argument("--why", default="by hand", metavar="TEXT", help="recorded with it")


def run(args: argparse.Namespace) -> int:
    """Go back."""
    print(f"rolled back to {roll_back(args.version, args.why)}")
    return 0


def roll_back(version: str | None, why: str, instead_of: str | None = None) -> str:
    """Put an earlier promotion in force again, and record why; gives its version.

    Args:
        version: which; None for the newest before that can be used.
        instead_of: the version in force; None for whichever is.

    Raises:
        InputError: there is none to go back to.
        UnavailableError: another version was promoted meanwhile.
    """
    stack = promotions()
    if not stack:
        raise InputError("nothing is promoted yet: `python -m training run`")
    left = instead_of or stack[-1].version
    from training.promotion.artefact import load_model
    from training.promotion.record import record_done

    chosen = version or _newest_usable([one.version for one in stack[:-1]], left)
    load_model(chosen)
    go_back_to(chosen, left)
    record_done("rollback", left, "rolled back", f"{why} (back to {chosen})")
    return chosen


def _newest_usable(earlier: list[str], left: str) -> str:
    from training.promotion.artefact import load_model

    for version in reversed(earlier):
        if version == left:
            continue
        try:
            load_model(version)
        except ShelfwiseError as error:
            print(f"{version} is passed over: {error}", file=sys.stderr)
            continue
        return version
    raise InputError(f"there is no usable version before {left} to go back to")
