"""How many events per second the stream takes from Kafka to both stores, beside Spark only decoding and checking them.

Real parts only: events are put into a Kafka topic first; then one Spark session reads the topic twice, once for the checks
alone (the baseline) and once as ``python -m ingestion stream`` does: features to Redis and Delta, and the archive beside
them. The first micro-batches of each, in which Java warms up, do not count. The stack is a temporary one on free ports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from own_stack import OwnStack  # noqa: E402

from feature_repo.settings import get_settings  # noqa: E402

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WARM_UP_BATCHES = 2


@contextmanager
def stack(folder: Path, batch: int) -> Iterator[None]:
    """Kafka and Redis, with the features registered and the settings of this process pointing there.

    Args:
        folder: where it keeps its data.
        batch: most events per micro-batch.
    """
    free = OwnStack.at(folder)
    pace = {
        "SHELFWISE_STREAM__MAX_EVENTS_PER_BATCH": str(batch),
        "SHELFWISE_STREAM__ARCHIVE_INTERVAL": "0 seconds",
    }
    own = OwnStack({**free.variables, **pace})
    with own.exported():
        try:
            for arguments in (("deploy", "up", "kafka", "redis"), ("feast.cli.cli", "-c", "feature_repo", "apply")):
                run(*arguments)
            yield
        finally:
            own.deploy("down")


def run(*arguments: str) -> None:
    """``python -m ...``, which must succeed."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}")


def parse_only(spark: SparkSession, folder: Path) -> float:
    """Events per second that are decoded, checked and thrown away."""
    from ingestion.offsets import in_kafka
    from ingestion.parsing import parse
    from ingestion.sources import event_stream

    first, _ = in_kafka()
    events = parse(event_stream(spark, first), get_settings().stream.future_tolerance_seconds).where("good")
    writer = events.writeStream.format("noop").option("checkpointLocation", str(folder / "parse-only"))
    query = writer.trigger(availableNow=True).start()
    query.awaitTermination()
    return _rate(query.recentProgress)


def whole_stream(spark: SparkSession) -> tuple[float, float]:
    """Events per second of the feature query and the archive query, running side by side."""
    from ingestion.archive_query import ArchiveQuery
    from ingestion.feature_query import FeatureQuery
    from ingestion.generation import open_generation
    from ingestion.online import open_applied_store

    features = FeatureQuery(spark, open_applied_store(), open_generation(spark)).start()
    archive = ArchiveQuery(spark).start()
    for query in (features, archive):
        query.processAllAvailable()
    rates = _rate(features.recentProgress), _rate(archive.recentProgress)
    for query in (features, archive):
        query.stop()
    return rates


def _rate(progress: list[Any]) -> float:
    counted = [one for one in progress if one["numInputRows"]][WARM_UP_BATCHES:]
    if not counted:
        raise SystemExit("too few events: Java was still warming up when they were done")
    return sum(one["numInputRows"] for one in counted) / sum(one["batchDuration"] / 1000 for one in counted)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000, help="events of an invented shop")
    parser.add_argument("--data", type=Path, help="instead, a folder of contract events")
    parser.add_argument("--until", help="last day of --data to use")
    parser.add_argument("--batch", type=int, default=20_000, help="most events per micro-batch")
    args = parser.parse_args()
    if args.data and not args.data.exists():
        raise SystemExit(f"there is no data in {args.data}; without --data an invented shop is used")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        console.print("starting Kafka and Redis, filling the topic ...")
        with stack(folder, args.batch):
            history = args.data or folder / "simulator" / "history"
            if not args.data:
                run("ingestion", "simulate", "history", "--events", str(args.events))
            run("ingestion", "replay", str(history), "--speed", "max", *(("--until", args.until) if args.until else ()))
            from ingestion.session import open_spark
            from ingestion.stream import SPARK

            spark = open_spark("shelfwise-benchmark", SPARK)
            console.print("decoding and checking only ...")
            baseline = parse_only(spark, folder)
            console.print("the whole stream ...")
            begun = time.monotonic()
            features, archive = whole_stream(spark)
            console.print(f"{time.monotonic() - begun:.0f} s")
            spark.stop()
    table = Table(title="events per second, micro-batches after warming up", title_justify="left")
    for heading in ("what", "events/s", "share of the baseline"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    table.add_row("decode and check only", f"{baseline:,.0f}", "100%")
    table.add_row("features to Redis and Delta", f"{features:,.0f}", f"{features / baseline:.0%}")
    table.add_row("archive, at the same time", f"{archive:,.0f}", f"{archive / baseline:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
