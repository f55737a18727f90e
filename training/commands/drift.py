"""``python -m training drift``: is what serving sees still like what the model was trained on?"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_repo.checks.options import EXIT_CODES, add_report_options, give, require_folder
from feature_repo.errors import ShelfwiseError
from training.promotion.exit_codes import ExitCode

if TYPE_CHECKING:
    from feature_repo.checks.findings import Finding
    from feature_repo.checks.report import Picture
    from feature_repo.reading import Floats
    from feature_repo.sections.watching import ValidationSettings
    from training.distributions import Distributions

_EPILOG = f"""\
With each model, training stores how the features and scores of its customers were distributed at its end. Here the same is taken
of the online store now, for a sample of the customers of the last days, and each distribution is compared by its population
stability index (PSI); above SHELFWISE_VALIDATION__DRIFT_PSI it is violated. docs/validation.md explains it.

{EXIT_CODES}  {ExitCode.NOTHING_PROMOTED}  nothing is promoted yet

examples:
  python -m training drift
  python -m training drift --report drift.html
  python -m training drift --model 20260101120000-0123abcd
"""
_FEATURES, _SCORES = "features of the model", "scores of the model"
_WHAT_TO_DO = {
    _FEATURES: "serving sees other values than the model learnt from: if the shop has changed, `python -m training retrain "
    "--promote`; if values are missing or absurd, see `python -m ingestion validate` and `python -m ingestion parity`",
    _SCORES: "the model says other things than when it was trained: look at the features that drifted, then `python -m training "
    "retrain --promote`",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--model", metavar="VERSION", help="a stored version (default: the promoted one)")
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, and say what drifted."""
    try:
        require_folder(args.report)
        from feature_repo.models.promotions import in_force
        from feature_repo.settings import get_settings
        from training.online import when_serving
        from training.promotion.artefact import load_model, read_distributions

        version = args.model or in_force()
        if version is None:
            print("no model is promoted yet: `python -m training run`", file=sys.stderr)
            return ExitCode.NOTHING_PROMOTED
        before = read_distributions(version)
        recommender, card = load_model(version)
        now, lacking = when_serving(recommender, before, get_settings().training)
        found, pictures = compare(before, now, get_settings().validation)
    except ShelfwiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    notes = [
        f"The model {version} learnt until {card.until[:16]}; then {before.customers:,} customers were looked at, now "
        f"{now.customers:,}, as a sample of those of the last days.",
        *(
            [f"{lacking:,} more customers were active lately, and the online store has nothing of them."]
            if lacking
            else []
        ),
    ]
    return int(give(args, f"Drift of {version}", datetime.now(UTC), found, pictures, notes))


def compare(
    before: Distributions, now: Distributions, limits: ValidationSettings
) -> tuple[list[Finding], list[Picture]]:
    """A finding and a picture per feature and score."""
    from feature_repo.checks.findings import Finding, Status
    from feature_repo.checks.report import pairs
    from training.distributions import SCORE

    enough = min(before.customers, now.customers) >= limits.drift_min_customers
    found, pictures = [], []
    for name, was in before.named.items():
        if name not in now.named:  # an earlier version compared more
            continue
        is_now = now.named[name]
        psi = was.psi(is_now)
        wrong = enough and psi > limits.drift_psi
        status = Status.VIOLATED if wrong else Status.OK if enough else Status.NOT_JUDGED
        kind = _SCORES if name.startswith(SCORE) else _FEATURES
        rows = sum(is_now.counts) + is_now.missing
        limit = f"PSI {limits.drift_psi:g}" if enough else f"with {limits.drift_min_customers:,} customers or more"
        found.append(
            Finding(
                kind, "drift", name, status, 0, rows, psi, limit,
                _furthest(was.shares(), is_now.shares(), was.labels()) if wrong else (), _WHAT_TO_DO[kind] if wrong else "",
            )
        )  # fmt: skip
        pictures.append(
            pairs(f"{name}: PSI {psi:.3f}", was.labels(), was.shares().tolist(), is_now.shares().tolist(), wrong)
        )
    return found, pictures


def _furthest(before: Floats, now: Floats, labels: list[str]) -> tuple[str, ...]:
    """The part whose share changed most."""
    place = int(abs(now - before).argmax())
    return (f"{labels[place]}: {before[place]:.0%} when trained, {now[place]:.0%} now",)
