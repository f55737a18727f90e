"""``python -m training experiment``: what variants of an experiment are worth, to those who saw them and before anybody does."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.commands import result_console
from feature_repo.errors import InputError
from feature_repo.time_arguments import moment
from training.promotion.exit_codes import ExitCode

if TYPE_CHECKING:
    from feature_repo.experiments import Experiment
    from training.experiments.off_policy import Value
    from training.experiments.report import Report

_EPILOG = f"""\
The experiments are those of the file that SHELFWISE_SERVING__EXPERIMENTS_FILE names. docs/experiments.md explains the numbers.

report NAME: customers, click-through and conversion of each variant, and a verdict. It holds however often one looks, so that
an experiment may be ended as soon as there is one. If the numbers of customers are not as the weights say, something is broken,
and there is no verdict.

estimate NAME: what variants of weight 0 would be worth, from the answers in which the experiment explored.

exit codes:
  0  a report was given
  {ExitCode.MISMATCH}  no verdict: the numbers of customers are not as declared

examples:
  python -m training experiment report bolder
  python -m training experiment report bolder --json
  python -m training experiment estimate bolder
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("what", choices=("report", "estimate"), help="what to look at")
    parser.add_argument("name", metavar="NAME", help="of the experiment")
    parser.add_argument("--until", type=moment, metavar="TIME", help="as it was then (ISO 8601)")
    parser.add_argument(
        "--stored", action="store_true", help="by the outcomes as they are, without taking in what is new"
    )
    parser.add_argument("--json", action="store_true", help="as one line of JSON")


def run(args: argparse.Namespace) -> int:
    """Show a report or an estimate."""
    experiment, until = _declared(args.name), args.until or datetime.now(UTC)
    if not args.stored:
        _take_in_what_is_new()
    if args.what == "estimate":
        return _estimate(args.name, experiment, until, args.json)
    from training.experiments.report import report

    found = report(args.name, experiment, until)
    if args.json:
        print(json.dumps(asdict(found)))
    else:
        _show(found)
    return ExitCode.MISMATCH if found.mismatched else 0


def _declared(name: str) -> Experiment:
    from feature_repo.experiments import read_experiments
    from feature_repo.settings import get_settings

    file = get_settings().serving.experiments_file
    if not file:
        raise InputError(
            "there are no experiments: SHELFWISE_SERVING__EXPERIMENTS_FILE names their file (docs/experiments.md)"
        )
    declared = read_experiments(Path(file)).experiments
    if name not in declared:
        raise InputError(f"{file} has no experiment {name!r}; it has {', '.join(declared) or 'none'}")
    return declared[name]


def _take_in_what_is_new() -> None:
    from feature_repo.settings import PROJECT_ROOT

    command = [sys.executable, "-m", "ingestion", "outcomes", "--refresh-only"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    if done.returncode:
        raise InputError(f"`python -m ingestion outcomes` failed: {last}; with --stored, what is stored is looked at")
    if done.stdout.strip():
        print(last, file=sys.stderr)


def _show(found: Report) -> None:
    from rich.table import Table

    console = result_console()
    table = Table("variant", title=f"{found.name}: customers by the variant that they saw first", title_justify="left")
    for heading in ("customers", "expected", "CTR", "conversion"):
        table.add_column(heading, justify="right")
    for one in found.variants:
        table.add_row(
            one.name, f"{one.customers:,}", f"{one.expected:,.0f}", f"{one.click_rate:.2%}", f"{one.conversion:.2%}"
        )
    console.print(table)
    lines = [*found.notes, *found.verdicts]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _estimate(name: str, experiment: Experiment, until: datetime, as_json: bool) -> int:
    from training.experiments.off_policy import AS_SERVED, read_draws, value

    if not experiment.explore:
        raise InputError(f"{name} does not explore: without `explore` in its declaration, nothing can be estimated")
    draws = read_draws(name, until)
    if not draws:
        raise InputError(f"no answer of {name} whose first place was drawn was shown yet: wait, or raise `explore`")
    values = [value(draws, policy) for policy in (AS_SERVED, *experiment.watched)]
    if as_json:
        print(json.dumps({"experiment": name, "draws": len(draws), "values": [asdict(one) for one in values]}))
    else:
        _show_values(name, len(draws), values)
    return 0


def _show_values(name: str, draws: int, values: list[Value]) -> None:
    from rich.table import Table

    from training.experiments.off_policy import MIN_CLICKS, MIN_MATCHES

    console = result_console()
    title = f"{name}: clicks of the first place per list, from {draws:,} answers in which it was drawn"
    table = Table("chosen by", title=title, title_justify="left")
    methods = ("inverse propensity", "self-normalised", "doubly robust")
    for heading in ("answers", "agreeing", *methods, "more than served"):
        table.add_column(heading, justify="right")
    for one in values:
        numbers = [_interval(one.estimates.get(method)) for method in methods]
        table.add_row(one.policy, f"{one.answers:,}", f"{one.matches:,}", *numbers, _interval(one.gain))
    console.print(table)
    for one in values:
        if not one.estimates:
            console.print(
                f"{one.policy}: too early to tell: in {one.matches:,} answers just what it would have put first was drawn, and "
                f"{MIN_MATCHES} are needed, {MIN_CLICKS} of them with a click. Wait, or raise `explore`.",
                markup=False,
            )
        elif one.unknown:
            console.print(
                f"{one.policy}: in {one.unknown:,} of {draws:,} answers ({one.unknown / draws:.0%}) it would have put first what "
                "the answer did not have, or it failed; what those are worth is not known, and not in the estimate.",
                markup=False,
            )


def _interval(found: Any) -> str:
    if found is None or found.mean is None:
        return "-"
    return f"{found.mean:.2%} ({found.low:.2%} to {found.high:.2%})"
