"""The Spark session that the stream and the batch jobs run in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.spark import start_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOGGING = Path(__file__).with_name("log4j2.properties").as_uri()


def open_spark(name: str, extra: dict[str, str] | None = None, threads: int = 1) -> SparkSession:
    """Start Spark with the Kafka and Delta connectors that set-up fetched.

    Args:
        name: of the application.
        extra: further configuration.
        threads: at least so many, even on fewer cores, where the master is this process.

    Raises:
        UnavailableError: the connectors' jars are missing.
    """
    settings = get_settings()
    jars = sorted((settings.jars / "spark").glob("*.jar"))
    if not jars:
        raise UnavailableError(f"no Spark connectors in {settings.jars / 'spark'}; run `make setup`")
    config = {
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
        "spark.driver.extraJavaOptions": f"-Djava.net.preferIPv4Stack=true -Xss8m -Dlog4j2.configurationFile={_LOGGING}",
    }
    return start_spark(name, {**config, **(extra or {})}, threads)
