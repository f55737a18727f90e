"""``python -m training watch``: go back to the version before if the running service does worse with the promoted one."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from feature_repo.errors import InputError, UnavailableError
from training.promotion.exit_codes import ExitCode

if TYPE_CHECKING:
    from feature_repo.sections.training import WatchSettings
    from training.promotion.live import Counts

_EPILOG = f"""\
The service's metrics (shelfwise_requests_total, shelfwise_errors_total, shelfwise_latency_seconds) since the promotion are
compared with those of the version before it: the share of requests that fail, the share of answers with a fallback, and the time
within which 95% of the answers come; and so are clicks on what was shown, as far as outcomes are known. Limits are settings
(SHELFWISE_WATCH__*). Each look also notes what was counted so far, so look every few minutes: then a restart of the service makes
nothing forgotten.

exit codes:
  0  nothing to complain of, or too few requests yet
  {ExitCode.ROLLED_BACK}  rolled back
  {ExitCode.NOTHING_PROMOTED}  nothing is promoted yet

examples:
  python -m training watch               # one look, for a scheduler
  python -m training watch --every 60    # look each minute until something is rolled back
"""
_LEVEL = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--every", type=float, metavar="SECONDS", help="look again and again, until it is rolled back")


def run(args: argparse.Namespace) -> int:
    """Look, once or again and again."""
    while args.every is not None:
        try:
            if code := _look():
                return code
        except UnavailableError as error:  # the service may be starting
            print(f"warning: {error}", file=sys.stderr, flush=True)
        time.sleep(args.every)
    return _look()


def _look() -> int:
    from feature_repo.models.promotions import promotions
    from feature_repo.settings import get_settings
    from training.commands.rollback import roll_back
    from training.promotion.live import look, was_gone_back_to
    from training.promotion.watched_clicks import judge_clicks

    stack = promotions()
    if not stack:
        print("error: nothing is promoted yet: `python -m training run`", file=sys.stderr)
        return ExitCode.NOTHING_PROMOTED
    sums = look(stack)
    in_force = stack[-1].version
    before = next((one.version for one in reversed(stack[:-1]) if one.version != in_force), None)
    verdict, reasons = judge(sums.get(in_force, {}), sums.get(before, {}) if before else {}, get_settings().watch)
    clicks, fallen = judge_clicks(stack[-1], before, get_settings().watch)
    reasons += fallen
    print(f"{in_force}: {verdict}" + (f"; {clicks}" if clicks else ""), flush=True)
    if not reasons:
        return 0
    if was_gone_back_to(stack):
        raise UnavailableError(
            f"{in_force}: {'; '.join(reasons)}; it was gone back to already, so that the model is hardly the cause: look at "
            "the service's log and at `python -m ingestion health`"
        )
    if before is None:
        raise InputError(f"{in_force}: {'; '.join(reasons)}; there is no version before it to go back to")
    version = roll_back(None, f"live metrics: {'; '.join(reasons)}", in_force)
    print(f"rolled back to {version}")
    return ExitCode.ROLLED_BACK


def judge(now: Counts, before: Counts, limits: WatchSettings) -> tuple[str, list[str]]:
    """What is to be said of a version, and the reasons to go back to the one before.

    Without enough requests of the version before, none of which is expected to have failed, only failures are judged.
    """
    from training.promotion.live import ANSWERS, FAILURES, FALLBACKS, percentile, share

    def asked(counts: Counts) -> float:
        return counts.get(ANSWERS, 0.0) + counts.get(FAILURES, 0.0)

    if asked(now) < limits.min_requests:
        return f"{asked(now):,.0f} of {limits.min_requests:,} requests so far", []
    known = asked(before) >= limits.min_requests
    reasons, told = [], []
    for what, name, most in (
        (FAILURES, "failed requests", limits.max_failure_rise),
        (FALLBACKS, "fallbacks", limits.max_fallback_rise),
    ):
        share_now, share_before = share(now, what), share(before, what) if known else 0.0
        told.append(f"{name} {share_now:.1%}" + (f" (before {share_before:.1%})" if known else ""))
        if (known or what == FAILURES) and share_now > share_before + most:
            reasons.append(f"{told[-1]}, more than {most:.1%} above")
    slow_now, slow_before = percentile(now, _LEVEL), percentile(before, _LEVEL)
    if slow_now is not None:
        told.append(f"{_LEVEL:.0%} within {slow_now * 1000:.1f} ms")
        if known and slow_before:
            told[-1] += f" (before {slow_before * 1000:.1f} ms)"
            if slow_now > slow_before * limits.max_latency_ratio:
                reasons.append(f"{told[-1]}, more than {limits.max_latency_ratio:g} times")
    compared = "" if known else "; too few requests of a version before to compare with"
    return f"{asked(now):,.0f} requests, {', '.join(told)}{compared}", reasons
