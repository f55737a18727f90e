"""``python -m ingestion rebuild-online``: an online store that was lost, again from the offline store."""

from __future__ import annotations

import argparse
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "For an empty or outdated Redis. A running stream pauses meanwhile (Kafka keeps what arrives); it would notice by "
        "itself if Redis lost everything, and fill it again."
    )


def run(_: argparse.Namespace) -> int:
    from feature_repo.tables import COMPUTED
    from ingestion.catalog import store as catalog_store
    from ingestion.locks import stream_paused
    from ingestion.online import open_online_store

    online = open_online_store()
    with stream_paused():
        begun = time.monotonic()
        counts = {table.name: online.fill_latest(table) for table in COMPUTED}
        counts["products"] = catalog_store.fill_online(online)
        seconds = time.monotonic() - begun
    total = sum(counts.values())
    print(
        ", ".join(f"{count:,} {what}" for what, count in counts.items())
        + f" in {seconds:.1f} s ({total / seconds:,.0f} rows/s)"
    )
    return 0
