"""The event contract in Spark: JSON text in; typed, checked and normalised events out.

Schema and checks are derived by walking the contract's models, so that a field or limit is declared in one place. A row
never disappears here: it gets a reason code and the offending field, or neither.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from feature_repo import contract
from feature_repo.contract import CONTRACT_VERSION, EVENTS, ISO_8601, Event, Product, Properties, Reason

_CORRUPT = "_corrupt"
_TYPES: dict[Any, T.DataType] = {
    str: T.StringType(),
    int: T.LongType(),
    float: T.DoubleType(),
    Any: T.StringType(),  # kept as JSON text: the contract says nothing about what is inside
}
_PRODUCT_FIELDS = ("product_id", "sku", "name", "category", "brand", "variant", "price", "quantity", "position")


def event_schema() -> T.StructType:
    """The contract's :class:`Event` as a Spark schema."""
    return _struct(Event)


def parse(raw: DataFrame, future_tolerance_seconds: int) -> DataFrame:
    """Decode, check and normalise events.

    Args:
        raw: rows with ``value`` (JSON text), ``received_at`` (timestamp), ``source``, ``partition`` and ``offset``.
        future_tolerance_seconds: how far after its arrival an event may be dated.

    Returns:
        The given columns, ``reason`` and ``field`` (both null for a valid event), and the normalised event:
        ``dedup_key``, ``message_id``, ``type``, ``event``, ``customer_id``, ``user_id``, ``anonymous_id``,
        ``previous_id``, ``timestamp`` (to the millisecond), ``products`` and the other columns of the events table.
    """
    schema = T.StructType([*event_schema().fields, T.StructField(_CORRUPT, T.StringType())])
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    decoded = raw.withColumn("e", F.from_json("value", schema, options))
    decoded = decoded.withColumn("event_time", F.col("e.timestamp").try_cast("timestamp"))
    checks, rules = list(_checks(future_tolerance_seconds)), _product_rules()
    products = F.col("e.properties.products")
    suspect = _disjunction([*(bad for _, _, bad in checks), _any_product(products, rules)])
    verdict = F.coalesce(
        *(F.when(bad, _verdict(reason, field)) for reason, field, bad in checks),
        *(F.when(_any_product(products, [rule]), _verdict(rule.reason, rule.path)) for rule in rules),
    )
    # Nearly all events are good: one cheap disjunction decides, the long search for the reason runs for the rest.
    return decoded.withColumn("verdict", F.when(suspect, verdict)).select(
        *raw.columns, F.col("verdict.reason").alias("reason"), F.col("verdict.field").alias("field"), *_normalised()
    )


def _struct(model: type[BaseModel]) -> T.StructType:
    return T.StructType(
        [T.StructField(name, _data_type(field.annotation)) for name, field in model.model_fields.items()]
    )


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


def _limits(field: FieldInfo) -> list[Any]:
    """The constraints on a field, wherever pydantic keeps them for this kind of annotation."""
    found = list(field.metadata)
    pending = [field.annotation]
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


def _verdict(reason: Reason, field: str | Column) -> Column:
    named = field if isinstance(field, Column) else F.lit(field)
    return F.struct(F.lit(reason.value).alias("reason"), named.alias("field"))


def _checks(future_tolerance_seconds: int) -> Iterator[tuple[Reason, str | Column, Column]]:
    """(reason, field, condition that makes an event bad), the more fundamental ones first."""
    e = F.col("e")
    corrupt = e[_CORRUPT].isNotNull()
    is_json = F.get_json_object("value", "$").isNotNull()
    yield Reason.MALFORMED_JSON, "(event)", F.coalesce(F.length(F.trim("value")) == 0, F.lit(True)) | e.isNull()
    yield Reason.MALFORMED_JSON, "(event)", corrupt & ~is_json
    yield Reason.NEWER_VERSION, "version", F.coalesce(e.version > CONTRACT_VERSION, F.lit(False))
    yield Reason.BAD_TIMESTAMP, "timestamp", corrupt & e.timestamp.isNull() & _present("$.timestamp")
    yield Reason.WRONG_TYPE, _wrongly_typed_field(), corrupt
    yield from _field_checks(Event, e, "", skip=("context", "properties"))
    yield Reason.MISSING_FIELD, "userId", _customer_id().isNull()
    timestamp_ok = e.timestamp.rlike(ISO_8601) & F.col("event_time").isNotNull()
    yield Reason.BAD_TIMESTAMP, "timestamp", ~timestamp_ok
    latest = F.unix_millis("received_at") + future_tolerance_seconds * 1000
    yield Reason.FUTURE_TIMESTAMP, "timestamp", F.unix_millis("event_time") > latest
    yield from _field_checks(contract.Context, e.context, "context.")
    yield from _field_checks(Properties, e.properties, "properties.", skip=("products",))
    list_field = Properties.model_fields["products"]
    for reason, condition in _limit_checks(list_field, e.properties.products):
        yield reason, "properties.products", F.coalesce(condition, F.lit(False))
    yield from _event_checks(e)


def _field_checks(
    model: type[BaseModel], parent: Column, prefix: str, skip: tuple[str, ...] = ()
) -> Iterator[tuple[Reason, str, Column]]:
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        value = parent[name]
        if field.is_required():
            yield Reason.MISSING_FIELD, prefix + name, value.isNull()
        if get_origin(_bare(field.annotation)) is Literal:
            yield Reason.UNKNOWN_TYPE, prefix + name, ~value.isin(*get_args(_bare(field.annotation)))
        for reason, condition in _limit_checks(field, value):
            yield reason, prefix + name, F.coalesce(condition, F.lit(False))


def _limit_checks(field: FieldInfo, value: Column) -> Iterator[tuple[Reason, Column]]:
    size = F.size(value) if get_origin(_bare(field.annotation)) is list else F.length(value)
    for limit in _limits(field):
        if isinstance(limit, MinLen):
            yield Reason.MISSING_FIELD, size < limit.min_length
        elif isinstance(limit, MaxLen):
            yield Reason.TOO_LONG, size > limit.max_length
        elif isinstance(limit, Ge):
            # Spark orders NaN above all numbers, so that the upper limit catches it.
            yield Reason.ABSURD_VALUE, value < limit.ge
        elif isinstance(limit, Le):
            yield Reason.ABSURD_VALUE, value > limit.le


@dataclass(frozen=True)
class _ProductRule:
    """One way in which a product of a list can be bad."""

    reason: Reason
    path: str
    broken: Callable[[Column], Column]


def _product_rules() -> list[_ProductRule]:
    rules = []
    for name, field in Product.model_fields.items():
        path = f"properties.products.{name}"
        if field.is_required():
            rules.append(_ProductRule(Reason.MISSING_FIELD, path, functools.partial(_is_missing, name)))
        for index, (reason, _) in enumerate(_limit_checks(field, F.lit(None))):
            rules.append(_ProductRule(reason, path, functools.partial(_breaks_limit, name, field, index)))
    return rules


def _is_missing(name: str, product: Column) -> Column:
    return product[name].isNull()


def _breaks_limit(name: str, field: FieldInfo, index: int, product: Column) -> Column:
    return F.coalesce(list(_limit_checks(field, product[name]))[index][1], F.lit(False))


def _disjunction(conditions: list[Column]) -> Column:
    """Their OR, as a balanced tree: a chain of a hundred would overflow the stack of Spark's planner."""
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return _disjunction(conditions[:half]) | _disjunction(conditions[half:])


def _any_product(products: Column, rules: list[_ProductRule]) -> Column:
    """Whether some product breaks one of the rules: one pass over the list, however many rules there are."""
    broken = F.exists(products, lambda p: _disjunction([rule.broken(p) for rule in rules]))
    return F.coalesce(broken, F.lit(False))


def _event_checks(e: Column) -> Iterator[tuple[Reason, str, Column]]:
    track = e.type == "track"
    yield Reason.MISSING_FIELD, "event", track & (F.coalesce(F.length(e.event), F.lit(0)) == 0)
    yield Reason.UNKNOWN_EVENT, "event", track & F.coalesce(~e.event.isin(*EVENTS), F.lit(False))
    needing = [name for name, rule in EVENTS.items() if rule.needs_product]
    without = F.coalesce(F.size(e.properties.products), F.lit(0)) <= 0
    without = without & e.properties.product_id.isNull()
    needs_product = F.coalesce(e.event.isin(*needing), F.lit(False))
    yield Reason.MISSING_FIELD, "properties.products", track & needs_product & without
    for name, rule in EVENTS.items():
        for required in rule.requires:
            missing = (e.event == name) & e.properties[required].isNull()
            yield Reason.MISSING_FIELD, f"properties.{required}", track & F.coalesce(missing, F.lit(False))


def _present(path: str) -> Column:
    return F.get_json_object("value", path).isNotNull()


def _wrongly_typed_field() -> Column:
    """The first declared field that is in the JSON and was not understood; runs only for events known to be bad."""
    e = F.col("e")
    candidates = [(e[name], name) for name in Event.model_fields]
    candidates += [(e.properties[name], f"properties.{name}") for name in Properties.model_fields]
    found = [F.when(value.isNull() & _present(f"$.{path}"), F.lit(path)) for value, path in candidates]
    return F.coalesce(*found, F.lit("properties.products"))


def _customer_id() -> Column:
    return F.coalesce(_filled(F.col("e.userId")), _filled(F.col("e.anonymousId")))


def _filled(text: Column) -> Column:
    trimmed = F.trim(text)
    return F.when(F.length(trimmed) > 0, trimmed)


def _word(value: Column, key: str) -> Column:
    """A context field that is a word, or Segment's object with the word inside."""
    return F.lower(F.when(F.startswith(value, F.lit("{")), F.get_json_object(value, f"$.{key}")).otherwise(value))


def _products() -> Column:
    p = F.col("e.properties")
    # position is an integer in the contract; JSON knows only numbers, so everything arrives as its declared type
    single = F.struct(*(p[name].alias(name) for name in _PRODUCT_FIELDS))
    listed = F.transform(p.products, lambda q: F.struct(*(q[name].alias(name) for name in _PRODUCT_FIELDS)))
    return F.when(F.size(p.products) > 0, listed).when(p.product_id.isNotNull(), F.array(single))


def _normalised() -> list[Column]:
    e, p = F.col("e"), F.col("e.properties")
    event_time = F.timestamp_millis(F.unix_millis("event_time"))
    order_key = F.concat(F.lit("order:"), p.order_id)
    return [
        F.when(e.event == contract.ORDERED, order_key).otherwise(e.messageId).alias("dedup_key"),
        e.messageId.alias("message_id"),
        e.type.alias("type"),
        e.event.alias("event"),
        _customer_id().alias("customer_id"),
        _filled(e.userId).alias("user_id"),
        _filled(e.anonymousId).alias("anonymous_id"),
        e.previousId.alias("previous_id"),
        event_time.alias("timestamp"),
        e.context.sessionId.alias("session_id"),
        e.context.country.alias("country"),
        _word(e.context.device, "type").alias("device"),
        e.context.channel.alias("channel"),
        F.coalesce(e.context.pagePath, F.get_json_object(e.context.page, "$.path")).alias("page_path"),
        p.list_id.alias("list_id"),
        p.query.alias("query"),
        p.order_id.alias("order_id"),
        F.coalesce(p.revenue, p.total).alias("revenue"),
        F.upper(p.currency).alias("currency"),
        _products().alias("products"),
        e.traits.alias("traits"),
    ]
