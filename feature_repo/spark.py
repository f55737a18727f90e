"""Starting Spark as every part of Shelfwise wants it: in this process or on a cluster, in UTC, without a web page."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()
# What many steps led to is a deep nest of objects, such as the factors after ten sweeps of ALS: Java's usual 1 MB of stack
# does not always do for reading one.
_JAVA = f"-Djava.net.preferIPv4Stack=true -Xss8m -Dlog4j2.configurationFile={_LOGGING}"


def start_spark(name: str, extra: Mapping[str, str] | None = None, threads: int = 1) -> SparkSession:
    """Start Spark, without any connector.

    Args:
        name: of the application.
        extra: further configuration.
        threads: at least so many, even on fewer cores, where the master is this process.

    Raises:
        UnavailableError: the cluster does not answer, or does not take us.
    """
    import pyspark
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    config = session_config(name, extra, threads)
    for key, value in config.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except (Py4JError, PySparkException) as error:
        if config["spark.master"].startswith("local"):
            raise
        if (failed := pyspark.SparkContext._active_spark_context) is not None:
            failed.stop()  # or it would be what the next start gets
        raise UnavailableError(
            f"Spark cannot be used at {config['spark.master']} (SHELFWISE_SPARK__MASTER), for the reason above; does its "
            f"version {pyspark.__version__} run there?"
        ) from error


def session_config(name: str, extra: Mapping[str, str] | None = None, threads: int = 1) -> dict[str, str]:
    """What :func:`start_spark` starts Spark with; prepares this process for it."""
    settings = get_settings()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    host, master = settings.spark.driver_host, settings.spark.master
    os.environ.setdefault("SPARK_LOCAL_IP", host)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    if master == "local[*]":
        master = f"local[{max(threads, os.cpu_count() or 1)}]"
    return {
        "spark.app.name": name,
        "spark.master": master,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.host": host,
        "spark.driver.bindAddress": host,
        "spark.executor.memory": settings.spark.executor_memory,
        **({"spark.cores.max": str(settings.spark.max_cores)} if settings.spark.max_cores else {}),
        "spark.driver.extraJavaOptions": _JAVA,
        "spark.executor.extraJavaOptions": _JAVA,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.local.dir": str(settings.home / "spark"),
        "spark.sql.warehouse.dir": str(settings.home / "spark" / "warehouse"),
        **(extra or {}),
    }


def connectors() -> dict[str, str]:
    """Configuration that gives Spark the Kafka and Delta connectors that set-up fetched.

    Raises:
        UnavailableError: the connectors' jars are missing.
    """
    settings = get_settings()
    jars = sorted((settings.jars / "spark").glob("*.jar"))
    if not jars:
        raise UnavailableError(f"no Spark connectors in {settings.jars / 'spark'}; run `make setup`")
    return {
        # Hadoop's own local file system starts a process (chmod, readlink) for each file that it creates or renames,
        # which made up a third of a short job.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
        "spark.driver.extraClassPath": str(settings.jars / "spark" / "*"),
        "spark.jars": ",".join(str(jar) for jar in jars),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        # Unless it is set, its default is asked of the process's environment for each element of a list that is read.
        "spark.sql.types.framework.enabled": "false",
        # Delta would replay a table's log in 50 tasks, which takes longer on a few cores than writing a small batch.
        "spark.databricks.delta.snapshotPartitions": "1",
    }
