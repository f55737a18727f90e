"""Measuring the side that answers customers: collector and service by asking them, the model by its record."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from feature_repo.errors import InputError
from feature_repo.models.promotions import promotions
from feature_repo.models.record import ModelRecord, read_record, version_to_serve
from feature_repo.settings import get_settings
from ingestion.health.serving import Answer, Model, Quality, Service

_TIMEOUT_SECONDS = 1.0


def services() -> list[Service]:
    """Collector and service, as they answer now."""
    settings = get_settings()
    collector, serving = settings.collector, settings.serving
    return [
        _ask("collector", f"http://{collector.host}:{collector.port}", "/health"),
        _ask("serving", f"http://{serving.host}:{serving.port}", "/readyz"),
    ]


def model() -> Model | None:
    """The model that the service is to answer with; None if nothing was promoted yet."""
    try:
        version, stack = version_to_serve(), promotions()
    except InputError as error:
        return Model("?", problem=str(error))
    if version is None:
        return None
    past = [quality.model for promotion in stack for quality in _first_quality(promotion.version)]
    promotion = next((one for one in reversed(stack) if one.version == version), None)
    promoted: dict[str, Any] = {"promoted_at": promotion.at, "why": promotion.why} if promotion else {}
    try:
        record = read_record(version)
        return Model(
            version, _moment(record.trained_at), _moment(record.until), **promoted, quality=qualities(record), past=past
        )
    except (InputError, ValueError) as error:
        return Model(version, **promoted, past=past, problem=str(error))


def qualities(record: ModelRecord) -> list[Quality]:
    """What of the evaluation says most of how good the model is; none where it recorded something else."""
    with suppress(KeyError, TypeError):
        following = record.metrics["next_product_at_20"]["all"]
        lists = record.metrics["rerank_ndcg_at_10"]
        found = (
            _quality("next product, HR@20", following["model_hr"], following["popularity_hr"], following["gain_hr"]),
            _quality("order of lists, NDCG@10", lists["model"], lists["popularity"], lists["gain"]),
        )
        return [quality for quality in found if quality]
    return []


def _quality(measure: str, of_model: Any, of_popularity: Any, gain: Any) -> Quality | None:
    if of_model["mean"] is None or of_popularity["mean"] is None:
        return None
    return Quality(measure, of_model["mean"], of_popularity["mean"], gain["high"])


def _first_quality(version: str) -> Iterator[Quality]:
    with suppress(InputError):  # deleted since
        yield from qualities(read_record(version))[:1]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _ask(name: str, address: str, ready: str) -> Service:
    # The stack keeps a record of what it started and has not stopped.
    started = (get_settings().home / "run" / f"{name}.json").exists()
    try:
        with urllib.request.urlopen(address + ready, timeout=_TIMEOUT_SECONDS) as answer:
            return Service(name, address, Answer.READY if answer.status == 200 else Answer.DEGRADED, started)
    except urllib.error.HTTPError:
        return Service(name, address, Answer.DEGRADED, started)
    except OSError:
        return Service(name, address, Answer.NONE, started)
