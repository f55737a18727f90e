"""What all DAGs have in common: one run at a time, nothing caught up on, retries with growing pauses, and a time limit."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from feature_repo.settings import get_settings


def scheduled(name: str, schedule: str, description: str, doc: str, **options: object) -> DAG:
    """A DAG of this project.

    Args:
        schedule: a cron expression in the time zone of the settings; empty: only by hand.
        doc: shown on the DAG's page.
        options: further ones of Airflow.
    """
    settings = get_settings().automation
    return DAG(
        f"shelfwise_{name}",
        schedule=schedule or None,
        start_date=pendulum.datetime(2026, 1, 1, tz=settings.time_zone),
        catchup=False,
        max_active_runs=1,
        description=description,
        doc_md=doc,
        tags=["shelfwise"],
        default_args={
            "retries": settings.retries,
            "retry_delay": timedelta(seconds=settings.retry_seconds),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(hours=1),
            "execution_timeout": timedelta(minutes=settings.timeout_minutes),
        },
        **options,
    )
