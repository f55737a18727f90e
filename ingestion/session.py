"""The Spark session that the stream and the batch jobs run in, and the folder for what they need meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.settings import get_settings
from feature_repo.spark import connectors, start_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def open_spark(name: str, extra: dict[str, str] | None = None, threads: int = 1) -> SparkSession:
    """Start Spark with the Kafka and Delta connectors that set-up fetched.

    Args:
        name: of the application.
        extra: further configuration.
        threads: at least so many, even on fewer cores, where the master is this process.

    Raises:
        UnavailableError: the connectors' jars are missing.
    """
    return start_spark(name, {**connectors(), **(extra or {})}, threads)


def has_ended(spark: SparkSession) -> bool:
    """Whether Spark has stopped by itself, which it does when a cluster ends its application."""
    return bool(spark.sparkContext._jsc.sc().isStopped())


def work_folder() -> Path:
    """Where the stream and the batch jobs keep what they need while they run."""
    folder = get_settings().home / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
