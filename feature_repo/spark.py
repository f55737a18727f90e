"""Starting Spark as every part of Shelfwise wants it: on loopback, in UTC, without a web page."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def start_spark(name: str, extra: Mapping[str, str] | None = None, threads: int = 1) -> SparkSession:
    """Start Spark, without any connector.

    Args:
        name: of the application.
        extra: further configuration.
        threads: at least so many, even on fewer cores, where the master is this process.
    """
    from pyspark.sql import SparkSession

    settings = get_settings()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    config = {
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.local.dir": str(settings.home / "spark"),
        "spark.sql.warehouse.dir": str(settings.home / "spark" / "warehouse"),
    }
    master = settings.spark.master
    if master == "local[*]":
        master = f"local[{max(threads, os.cpu_count() or 1)}]"
    builder = SparkSession.builder.appName(name).master(master)
    for key, value in {**config, **(extra or {})}.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()
