"""The nightly Airflow DAG: checks and upkeep, one after the other, each whatever became of the others."""

from __future__ import annotations

from automation.commands import Command, module
from automation.schedules import scheduled
from feature_repo.settings import get_settings
from training.promotion.exit_codes import ExitCode

HOME = get_settings().home
# Name of the step and the command. To add one, add a line; the first are run first.
NIGHTLY = {
    # What a running stream has erased already is not there any more.
    "erase": module("ingestion", "erase", "--pending"),
    # The same sample of rows when it is tried again, so that a difference cannot be passed over by luck.
    "parity": module("ingestion", "parity", "--seed", "{{ dag_run.run_after.timestamp() | int }}"),
    "validate": module("ingestion", "validate", "--report", str(HOME / "validation.html")),
    "drift": module("training", "drift", "--report", str(HOME / "drift.html")),
    "compact": module("ingestion", "compact"),
}

# What looks at the same data again says the same again.
CHECKED = {
    name: {1: "something is violated; see the lines above", 2: "it could not be checked; see the lines above"}
    for name in ("validate", "drift")
}

SKIPPED: dict[str, dict[int, str]] = {"drift": {ExitCode.NOTHING_PROMOTED: "nothing is promoted yet"}}

with scheduled(
    "nightly",
    get_settings().automation.nightly_schedule,
    "nightly checks and upkeep",
    "Customers who asked for it are erased. Do stored features hold what the events say, is the data as expected, has it "
    "drifted? Then small files are merged. "
    "A step that fails does not hinder the others.",
    max_active_tasks=1,
):
    for place, (name, command) in enumerate(NIGHTLY.items()):
        # Not chained: a run is as good as its last steps, so that a failure before the last would be green.
        Command(
            task_id=name,
            command=command,
            priority_weight=len(NIGHTLY) - place,
            skip=SKIPPED.get(name, {}),
            final=CHECKED.get(name, {}),
        )
