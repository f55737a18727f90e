"""Airflow DAGs that bring in what is new: catalogue, pulls, and both stores of the features. Only what is configured is there."""

from __future__ import annotations

import re
from pathlib import Path

from automation.commands import Command, feast, module
from automation.schedules import scheduled
from feature_repo.sections.warehouses import OfflineStoreKind
from feature_repo.settings import get_settings
from ingestion.commands.pull import NEEDS_A_LOOK

settings = get_settings()
automation = settings.automation

LISTS_ALL = {True: ["--snapshot"], False: ["--no-snapshot"], None: []}[automation.catalog_snapshot]

if automation.catalog:
    with scheduled(
        "catalog",
        automation.catalog_schedule,
        "load what is new of the catalogue",
        "Only files that changed are read, only news is written. The catalogue is `SHELFWISE_AUTOMATION__CATALOG`.",
    ):
        Command(task_id="catalog", command=module("ingestion", "catalog", automation.catalog, *LISTS_ALL))

if automation.pulls:
    with scheduled(
        "pull",
        automation.pull_schedule,
        "pull customers and orders that are new",
        "A step for each of `SHELFWISE_AUTOMATION__PULLS`. A pull that failed goes on where it was; each order counts once.",
    ):
        for file in automation.pulls:
            Command(
                task_id=re.sub(r"[^\w.-]", "_", Path(file).stem),
                command=module("ingestion", "pull", file),
                final={
                    NEEDS_A_LOOK: "everything was pulled, but records were refused, or fields vanished or changed their "
                    "type: see the lines above, and `python -m ingestion quarantine list`"
                },
            )

with scheduled(
    "materialize",
    automation.materialize_schedule,
    "bring online what was written to the offline store, late rows too",
    "The stream writes to both stores by itself; this fills gaps that it left. Rows older than those online are passed over.",
):
    Command(
        task_id="materialize",
        command=feast("materialize-incremental", "{{ macros.datetime.utcnow().isoformat(timespec='seconds') }}"),
    )

if settings.offline.store is OfflineStoreKind.POSTGRES:
    with scheduled(
        "publish",
        automation.publish_schedule,
        "copy what changed of the feature tables into the warehouse",
        "Each table goes from one version of Delta to the next in one transaction (docs/warehouses.md).",
    ):
        Command(task_id="publish", command=module("ingestion", "publish"))
