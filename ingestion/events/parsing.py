"""The event contract in Spark: JSON text in; typed, checked and normalised events out.

Schema and checks are derived by walking the contract's models, so that a field or limit is declared in one place. Spark
only decides whether an event is good, with few expressions, because planning them takes longer than checking a few events. For
the few that are not, :mod:`ingestion.quarantine.reasons` says why. No row disappears here.
"""

from __future__ import annotations

import types
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from feature_repo import contract
from feature_repo.contract import CONTRACT_VERSION, EVENTS, ISO_8601, Event, Product, Properties
from feature_repo.settings import get_settings
from ingestion.quarantine.reasons import NUL

_CORRUPT = "_corrupt"
_BROWSER = "Mozilla/"  # every browser's description begins so, and no server's
_TABLET = "iPad|Tablet|Android(?!.*Mobi)"
_PHONE = "Mobi|iPhone"
_TYPES: dict[Any, T.DataType] = {
    str: T.StringType(),
    int: T.LongType(),
    float: T.DoubleType(),
    Any: T.StringType(),  # kept as JSON text: the contract says nothing about what is inside
}


@dataclass(frozen=True)
class Limits:
    """What the contract leaves to the settings.

    Attributes:
        event_bytes: size of the largest event.
        future_tolerance_seconds: how far after its arrival an event may be dated.
    """

    event_bytes: int
    future_tolerance_seconds: int

    @classmethod
    def configured(cls) -> Limits:
        """As the settings say."""
        settings = get_settings()
        return cls(settings.collector.max_event_bytes, settings.stream.future_tolerance_seconds)


def event_schema() -> T.StructType:
    """The contract's :class:`Event` as a Spark schema."""
    return _struct(Event)


def parse(raw: DataFrame, limits: Limits) -> DataFrame:
    """Decode, check and normalise events.

    Args:
        raw: rows with ``value`` (JSON text), ``received_at`` (timestamp), ``source``, ``partition`` and ``offset``.
        limits: what the contract leaves to the settings.

    Returns:
        The given columns, ``good`` (whether the event fulfils the contract), and the normalised event:
        ``dedup_key``, ``message_id``, ``type``, ``event``, ``customer_id``, ``user_id``, ``anonymous_id``,
        ``previous_id``, ``timestamp`` (to the millisecond), ``products`` and the other columns of the events table.
    """
    schema = T.StructType([*event_schema().fields, T.StructField(_CORRUPT, T.StringType())])
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    decoded = raw.withColumn("e", F.from_json("value", schema, options))
    decoded = decoded.withColumn("event_time", F.col("e.timestamp").try_cast("timestamp"))
    bad = _any([*_envelope_checks(limits), *_field_checks(), *_event_checks()])
    return decoded.select(*raw.columns, (~bad).alias("good"), *_normalised())


def _struct(model: type[BaseModel]) -> T.StructType:
    return T.StructType([T.StructField(name, _data_type(info.annotation)) for name, info in model.model_fields.items()])


def _data_type(annotation: Any) -> T.DataType:
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _struct(annotation)
    if get_origin(annotation) is list:
        return T.ArrayType(_data_type(get_args(annotation)[0]))
    if get_origin(annotation) is Literal:
        return T.StringType()
    return _TYPES[annotation]


def _bare(annotation: Any) -> Any:
    """Strip ``Optional`` and ``Annotated``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _limits(info: FieldInfo) -> list[Any]:
    """The constraints on a field, wherever pydantic keeps them for this kind of annotation."""
    found = list(info.metadata)
    pending = [info.annotation]
    while pending:
        annotation = pending.pop()
        if get_origin(annotation) is Annotated:
            base, *extras = get_args(annotation)
            pending.append(base)
            for extra in extras:
                found += extra.metadata if isinstance(extra, FieldInfo) else [extra]
        elif get_origin(annotation) in (Union, types.UnionType):
            pending += get_args(annotation)
    return found


@dataclass
class _Extremes:
    """Values that share a limit, so that one comparison checks them all."""

    at_most: dict[float, list[Column]] = field(default_factory=lambda: defaultdict(list))
    at_least: dict[float, list[Column]] = field(default_factory=lambda: defaultdict(list))
    required: list[Column] = field(default_factory=list)

    def add(self, model: type[BaseModel], parent: Column, skip: tuple[str, ...] = ()) -> None:
        """Take in every limited field of ``model`` but those in ``skip``."""
        for name, info in model.model_fields.items():
            if name not in skip:
                self._add_field(info, parent[name])

    def _add_field(self, info: FieldInfo, value: Column) -> None:
        kind = get_origin(_bare(info.annotation))
        size = F.size(value) if kind is list else F.length(value)
        for limit in _limits(info):
            if isinstance(limit, MaxLen):
                self.at_most[limit.max_length].append(size)
            elif isinstance(limit, MinLen):
                self.at_least[limit.min_length].append(size)
            elif isinstance(limit, Le):
                # Spark orders NaN above all numbers, so that this catches it too.
                self.at_most[float(limit.le)].append(value)  # type: ignore[arg-type]
            elif isinstance(limit, Ge):
                self.at_least[float(limit.ge)].append(value)  # type: ignore[arg-type]
        if info.is_required():
            self.required.append(value)

    def broken(self) -> list[Column]:
        """Conditions, never null, of which at least one holds if a field breaks its limit."""
        return [
            *(value.isNull() for value in self.required),
            *(F.coalesce(_extreme(F.greatest, values) > top, F.lit(False)) for top, values in self.at_most.items()),
            *(F.coalesce(_extreme(F.least, values) < low, F.lit(False)) for low, values in self.at_least.items()),
        ]


def _extreme(function: Any, values: list[Column]) -> Column:
    """Spark's greatest and least pass over nulls and want two arguments."""
    return function(*values) if len(values) > 1 else values[0]


def _any(conditions: Iterable[Column]) -> Column:
    """Their OR, as a balanced tree: a long chain would overflow the stack of Spark's planner."""
    found = list(conditions)
    if len(found) == 1:
        return found[0]
    half = len(found) // 2
    return _any(found[:half]) | _any(found[half:])


def _envelope_checks(limits: Limits) -> list[Column]:
    e = F.col("e")
    latest = F.unix_millis("received_at") + limits.future_tolerance_seconds * 1000
    kinds = get_args(_bare(Event.model_fields["type"].annotation))
    return [
        e.isNull(),
        F.octet_length("value") > limits.event_bytes,
        F.contains("value", F.lit(NUL.decode())),
        e[_CORRUPT].isNotNull(),
        F.coalesce(~e.type.isin(*kinds), F.lit(True)),
        F.coalesce(e.version > CONTRACT_VERSION, F.lit(False)),
        _customer_id().isNull(),
        F.coalesce(~e.timestamp.rlike(ISO_8601), F.lit(True)),
        F.coalesce(F.unix_millis("event_time") > latest, F.lit(True)),
    ]


def _field_checks() -> list[Column]:
    e, limits, of_products = F.col("e"), _Extremes(), _Extremes()
    limits.add(Event, e, skip=("context", "properties"))
    limits.add(contract.Context, e.context)
    limits.add(Properties, e.properties)

    def broken(product: Column) -> Column:
        of_products.add(Product, product)
        return _any(of_products.broken())

    return [*limits.broken(), F.coalesce(F.exists(e.properties.products, broken), F.lit(False))]


def _event_checks() -> list[Column]:
    e = F.col("e")
    track = F.coalesce(e.type == "track", F.lit(False))
    needing = [name for name, rule in EVENTS.items() if rule.needs_product]
    without = (F.coalesce(F.size(e.properties.products), F.lit(0)) <= 0) & e.properties.product_id.isNull()
    checks = [
        ~F.coalesce(e.event.isin(*EVENTS), F.lit(False)),
        F.coalesce(e.event.isin(*needing), F.lit(False)) & without,
    ]
    for name, rule in EVENTS.items():
        for required in rule.requires:
            checks.append(F.coalesce(e.event == name, F.lit(False)) & e.properties[required].isNull())
    return [track & _any(checks)]


def _customer_id() -> Column:
    return F.coalesce(_filled(F.col("e.userId")), _filled(F.col("e.anonymousId")))


def _filled(text: Column) -> Column:
    trimmed = F.trim(text)
    return F.when(F.length(trimmed) > 0, trimmed)


def _word(value: Column, key: str) -> Column:
    """A context field that is a word, or Segment's object with the word inside."""
    return F.lower(F.when(F.startswith(value, F.lit("{")), F.get_json_object(value, f"$.{key}")).otherwise(value))


def _device(context: Column) -> Column:
    """The kind of device: as the tracker says, where phones' trackers say their system, else as the browser describes it."""
    said, agent = _word(context.device, "type"), context.userAgent
    pad = F.startswith(F.get_json_object(context.device, "$.model"), F.lit("iPad"))
    by_agent = F.when(agent.rlike(_TABLET), "tablet").when(agent.rlike(_PHONE), "mobile").otherwise("desktop")
    return (
        F.when(said.isin("ios", "android"), F.when(pad, "tablet").otherwise("mobile"))
        .when(said.isNotNull(), said)
        .when(F.startswith(agent, F.lit(_BROWSER)), by_agent)
    )


def _products() -> Column:
    """The products in full; single-product events may carry theirs flat."""
    p = F.col("e.properties")
    single = F.struct(*(p[name].alias(name) for name in Product.model_fields))
    return F.when(F.size(p.products) > 0, p.products).when(p.product_id.isNotNull(), F.array(single))


def _normalised() -> list[Column]:
    e, p = F.col("e"), F.col("e.properties")
    event_time = F.timestamp_millis(F.unix_millis("event_time"))
    # Only a track call says what happened; in others, the contract says nothing about this field.
    event = F.when(e.type == "track", e.event)
    order_key = F.concat(F.lit("order:"), p.order_id)
    return [
        F.when(event == contract.ORDERED, order_key).otherwise(e.messageId).alias("dedup_key"),
        e.messageId.alias("message_id"),
        e.type.alias("type"),
        event.alias("event"),
        _customer_id().alias("customer_id"),
        _filled(e.userId).alias("user_id"),
        _filled(e.anonymousId).alias("anonymous_id"),
        e.previousId.alias("previous_id"),
        event_time.alias("timestamp"),
        e.context.sessionId.alias("session_id"),
        F.coalesce(e.context.country, F.get_json_object(e.context.location, "$.country")).alias("country"),
        _device(e.context).alias("device"),
        e.context.channel.alias("channel"),
        F.coalesce(e.context.pagePath, F.get_json_object(e.context.page, "$.path")).alias("page_path"),
        p.list_id.alias("list_id"),
        p.request_id.alias("request_id"),
        p.query.alias("query"),
        p.order_id.alias("order_id"),
        F.coalesce(p.revenue, p.total).alias("revenue"),
        F.upper(p.currency).alias("currency"),
        _products().alias("products"),
        e.traits.alias("traits"),
    ]
