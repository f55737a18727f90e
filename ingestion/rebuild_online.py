"""``python -m ingestion rebuild-online``: an online store that was lost, again from the offline store."""

from __future__ import annotations

import argparse
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "For an empty or outdated Redis. What the online store has newer is kept. A running stream pauses meanwhile "
        "(Kafka keeps what arrives)."
    )


def run(_: argparse.Namespace) -> int:
    from feature_repo.aggregates import Entity
    from ingestion import catalog_store
    from ingestion.locks import stream_paused
    from ingestion.online import open_applied_store, push_latest

    store = open_applied_store()
    with stream_paused():
        begun = time.monotonic()
        counts = {f"{entity.value} rows": push_latest(store, entity) for entity in Entity}
        counts["products"] = catalog_store.push_all(store)
        seconds = time.monotonic() - begun
    total = sum(counts.values())
    print(
        ", ".join(f"{count:,} {what}" for what, count in counts.items())
        + f" in {seconds:.1f} s ({total / seconds:,.0f} rows/s)"
    )
    return 0
