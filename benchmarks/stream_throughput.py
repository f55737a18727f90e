"""How many events per second the stream takes from Kafka to both stores, beside Spark only decoding and checking them.

Real parts only: events are put into a Kafka topic first. Then Spark reads the topic, decodes and checks each event and throws
the rows away: the baseline. Then `python -m ingestion stream` is started, which reads the topic from its beginning, keeps
features in Redis and Delta, and archives all events. How far it has come is read from the commits of its Delta tables, twice a
second; features are committed every second here, the archive every ten. Once the features have reached the end, it is asked to
stop, and so writes at once what the archive lacks.

In both cases the first tenth of the events does not count: Java starts and warms up meanwhile. The clock starts with the
first batch (baseline) or the first commit of features (stream) beyond it, and the events before that are left out. Kafka and
Redis are started for this, in a temporary folder and on free ports, and share the machine with what is measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import datetime
from pathlib import Path

from deltalake import DeltaTable
from rich.table import Table
from stream_stack import StreamProcess, progress, run, show, simulate, stack

from feature_repo import tables
from feature_repo.sections.intake import StreamSettings
from feature_repo.settings import get_settings
from ingestion import offsets

NOT_COUNTED = 0.1
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
PACE = {"STREAM__OFFLINE_SECONDS": 1, "STREAM__ARCHIVE_SECONDS": 10}


class Committed:
    """How many events of the topic a table covers."""

    def __init__(self, table: tables.Table, first: offsets.Offsets) -> None:
        self._stored = DeltaTable(table.uri)
        self._first = sum(first.values())

    def events(self) -> int:
        """As of its latest commit."""
        self._stored.update_incremental()
        return max(0, sum(offsets.covered_by(self._stored).values()) - self._first)


def decode_and_check(folder: Path, events: int) -> float:
    """Events per second that are decoded, checked and thrown away."""
    from ingestion.events.parsing import Limits, parse
    from ingestion.session import open_spark
    from ingestion.streaming.source import SPARK, event_stream

    spark = open_spark("shelfwise-benchmark", {**SPARK, "spark.sql.streaming.numRecentProgressUpdates": "100000"})
    try:
        first, _ = offsets.in_kafka()
        size = {"maxOffsetsPerTrigger": str(get_settings().stream.max_events_per_batch)}
        checked = parse(event_stream(spark, first, size), Limits.configured()).where("good")
        writer = checked.writeStream.format("noop").option("checkpointLocation", str(folder / "decode-and-check"))
        query = writer.trigger(availableNow=True).start()
        query.awaitTermination()
        batches = [
            (datetime.fromisoformat(one["timestamp"]).timestamp() + one["batchDuration"] / 1000, one["numInputRows"])
            for one in query.recentProgress
        ]
    finally:
        spark.stop()
    done, points = 0, []
    for ended, count in batches:
        done += count
        points.append((ended, done))
    return _rate(points, events)


def whole_stream(events: int) -> tuple[float, float]:
    """Events per second to the end of the features, and to the end of the archive as well."""
    first, _ = offsets.in_kafka()
    features, archive = (Committed(table, first) for table in (tables.CUSTOMER_ACTIVITY, tables.EVENTS))
    points: list[tuple[float, int]] = []
    asked = False
    with StreamProcess() as stream, progress.status("") as status:
        while (archived := archive.events()) < events:
            stream.check()
            committed = features.events()
            if not points or committed > points[-1][1]:
                points.append((time.monotonic(), committed))
                status.update(f"{committed:,} of {events:,} events in the features, {archived:,} in the archive")
            if committed == events and not asked:
                stream.ask_to_stop()  # once: asked again, it gives up what it is writing
                asked = True
            if time.monotonic() - points[-1][0] > PATIENCE_SECONDS:
                raise SystemExit(f"nothing was committed for {PATIENCE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        ended = time.monotonic()
    return _rate(points, events), _rate([*points[:-1], (ended, events)], events)


def _rate(points: list[tuple[float, int]], events: int) -> float:
    """Events per second after the first tenth, from (seconds, events done by then)."""
    counted = [(moment, done) for moment, done in points if done > NOT_COUNTED * events]
    if len(counted) < 2:
        raise SystemExit("too few events: they were done before the measurement could begin; give more with --events")
    (begun, before), (ended, done) = counted[0], counted[-1]
    return (done - before) / (ended - begun)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="events of an invented shop (default: %(default)s)"
    )
    parser.add_argument("--customers", type=int, default=100_000, help="its customers (default: %(default)s)")
    parser.add_argument("--products", type=int, default=20_000, help="its products (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="instead, a folder of contract events")
    parser.add_argument("--until", help="last day of --data to use")
    batch = StreamSettings().max_events_per_batch
    parser.add_argument("--batch", type=int, default=batch, help="most events per micro-batch (default: %(default)s)")
    args = parser.parse_args()
    if args.data and not args.data.exists():
        raise SystemExit(f"there is no data in {args.data}; without --data an invented shop is used")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress.print("starting Kafka and Redis ...")
        with stack(folder, {**PACE, "STREAM__MAX_EVENTS_PER_BATCH": args.batch}):
            progress.print("filling the topic ...")
            history = args.data or simulate(args.events, args.customers, args.products)
            run("ingestion", "replay", str(history), "--speed", "max", *(("--until", args.until) if args.until else ()))
            first, following = offsets.in_kafka()
            events = sum(following.values()) - sum(first.values())
            progress.print(f"{events:,} events; decoding and checking only ...")
            baseline = decode_and_check(folder, events)
            progress.print("the whole stream ...")
            features, archive = whole_stream(events)
    table = Table(title=f"{events:,} events, without the first tenth", title_justify="left")
    for heading in ("what", "events/s", "share of the baseline"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    table.add_row("decode and check only", f"{baseline:,.0f}", "100%")
    table.add_row("features to Redis and Delta", f"{features:,.0f}", f"{features / baseline:.0%}")
    table.add_row("the same and the archive, to the end of both", f"{archive:,.0f}", f"{archive / baseline:.0%}")
    show(table)


if __name__ == "__main__":
    main()
