"""``python -m training retrain``: the retraining cycle, from a look at the data to the promotion of a better model."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import ShelfwiseError, UnavailableError
from training.arguments import require_folder_of
from training.promotion.exit_codes import ExitCode

if TYPE_CHECKING:
    from feature_repo.settings import Settings
    from training.promotion.challenge import Challenge, Champion
    from training.promotion.freshness import Freshness
    from training.promotion.record import Record
    from training.steps import Steps

_EPILOG = f"""\
The cycle: is the history fresh, and did enough happen since the champion (the promoted model) was trained? Then a challenger
is trained and stored, and must pass the gate: no worse than the champion on the same held-back events, about as fast, and stored
features that agree with the raw events. With --promote, what passes is promoted, and a running service takes it within
seconds. Limits are settings (SHELFWISE_RETRAIN__*); docs/retraining.md explains them. Killed anywhere, it leaves the champion in
force, and can be run again.

exit codes:
  0  promoted, or passed without --promote
  1  something failed
  {ExitCode.STALE}  the newest stored event is too old
  {ExitCode.NOTHING_NEW}  too little happened since the champion was trained
  {ExitCode.REFUSED}  the challenger did not pass the gate

examples:
  python -m training retrain --promote
  python -m training retrain                  # judge only; promote later with `python -m training promote VERSION`
  python -m training retrain --check          # only say whether it is time to train
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--promote", action="store_true", help="promote the challenger if it passes")
    parser.add_argument("--check", action="store_true", help="only look at the data, train nothing")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Go through the cycle."""
    from feature_repo.settings import get_settings
    from training.steps import Steps

    require_folder_of(args.report)
    settings, steps = get_settings(), Steps()
    with _alone(settings):
        with steps("champion and data"):
            from training.promotion.freshness import look

            before, champion = _champion()
            fresh = look(datetime.fromisoformat(champion.card.until) if champion else None, settings.retrain)
        print(fresh.detail, flush=True)
        if fresh.problem or args.check:
            return int(fresh.problem or 0)
        return _recorded(args, settings, steps, before, champion, fresh)


def _recorded(
    args: argparse.Namespace,
    settings: Settings,
    steps: Steps,
    before: str | None,
    champion: Champion | None,
    fresh: Freshness,
) -> int:
    """Train, judge and promote, and leave a record of how it ended, whatever happens."""
    with steps("loading libraries"):
        from rich.console import Console

        from feature_repo.models.promotions import promote
        from training.promotion.challenge import challenge
        from training.promotion.record import Record, close_interrupted
        from training.warehouse import bring_up_to_date
    close_interrupted(before)
    record = Record.begin("retrain")
    try:
        with steps("warehouse"):
            bring_up_to_date(settings.offline.store)
        found = challenge(champion, settings, steps)
        found.show(Console())
        _note(record, found, fresh, settings, steps)
        if args.report:
            args.report.write_text(json.dumps(found.report(), indent=2, allow_nan=False))
        if found.passed and args.promote:
            promote(found.version, found.verdict, before)
    except BaseException as error:
        with suppress(UnavailableError):  # the first error is the one to be told
            record.end("failed", str(error) or type(error).__name__, "FAILED")
        raise
    decision = "refused" if not found.passed else "promoted" if args.promote else "passed"
    print(f"{found.version} is {decision}: {found.verdict}", flush=True)
    if decision == "passed":
        print(f"promote it with `python -m training promote {found.version}`", flush=True)
    try:
        record.end(decision, found.verdict)
    except UnavailableError as error:
        print(f"warning: that is not recorded: {error}", file=sys.stderr)
    return 0 if found.passed else ExitCode.REFUSED


def _note(record: Record, found: Challenge, fresh: Freshness, settings: Settings, steps: Steps) -> None:
    card = found.trained.card
    record.note(
        found.version,
        parameters={
            "training": settings.training.model_dump(mode="json"),
            "retrain": settings.retrain.model_dump(mode="json", exclude={"tracking_uri"}),
            "champion": found.against,
            "newest_event": fresh.newest.isoformat(),
            "learnt_until": card.until,
            "delta": found.data,
        },
        metrics={
            "seconds": steps.seconds,
            "counts": card.counts,
            "held_back": card.metrics,
            "gate": {check.name: {"passed": check.passed, **check.numbers} for check in found.checks},
        },
        report=found.report(),
    )


def _champion() -> tuple[str | None, Champion | None]:
    """The version in force, and the newest promoted model that can be used, which is the one that the service answers with."""
    from feature_repo.models.promotions import promotions
    from training.promotion.artefact import load_model
    from training.promotion.challenge import Champion

    stack = [promotion.version for promotion in reversed(promotions())]
    for version in stack:
        try:
            return stack[0], Champion(version, *load_model(version))
        except ShelfwiseError as error:
            print(f"the promoted {version} cannot be used: {error}", flush=True)
    print("there is no promoted model: a challenger is compared with popularity", flush=True)
    return next(iter(stack), None), None


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One retraining at a time; the kernel lets go of the lock when its holder ends, however it ends."""
    folder = settings.home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "retrain.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError("another `python -m training retrain` is at work; wait until it has ended") from None
        yield
