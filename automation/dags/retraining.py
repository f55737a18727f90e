"""Airflow DAGs of the model: retrain when there is reason to, promote what is as good, and go back if it does badly live."""

from __future__ import annotations

from datetime import timedelta

from automation.commands import Command, CommandSensor, module
from automation.schedules import scheduled
from feature_repo.settings import get_settings
from training.promotion.exit_codes import ExitCode

automation = get_settings().automation

NOTHING_NEW: dict[int, str] = {
    ExitCode.NOTHING_NEW: "too little happened since the champion was trained: nothing to do"
}

with scheduled(
    "retrain",
    automation.retrain_schedule,
    "train a challenger and promote it if it is as good as the champion",
    "Waits until the newest event is fresh; skips the rest if too little is new. `retrain` is skipped, and the champion stays, "
    "if the gate refused the challenger: its log says why (docs/retraining.md).",
):
    fresh_data = CommandSensor(
        task_id="fresh_data",
        command=module("training", "retrain", "--check"),
        not_yet=ExitCode.STALE,
        skip=NOTHING_NEW,
        mode="reschedule",
        poke_interval=automation.fresh_data_check_minutes * 60,
        timeout=automation.fresh_data_hours * 3600,
    )
    retrain = Command(
        task_id="retrain",
        command=module("training", "retrain", "--promote"),
        skip=NOTHING_NEW | {ExitCode.REFUSED: "refused by the gate: the champion stays in force, nothing was promoted"},
        final={ExitCode.STALE: "the newest event is no longer fresh: nothing was trained"},
        execution_timeout=timedelta(minutes=automation.retrain_timeout_minutes),
    )
    fresh_data >> retrain

with scheduled(
    "watch",
    automation.watch_schedule,
    "look at the live metrics, and roll the promoted model back if they fell",
    "Fails after a roll-back, so that somebody looks at why. Skipped as long as nothing is promoted.",
):
    Command(
        task_id="watch",
        command=module("training", "watch"),
        skip={ExitCode.NOTHING_PROMOTED: "nothing is promoted yet"},
        final={ExitCode.ROLLED_BACK: "the live metrics fell: the version before is in force again"},
    )
