"""What ``feast apply`` registers: entities, sources, views and services, derived from the declared aggregates.

The views hold absolute values as of each row's ``event_timestamp`` (the entity's last event). ``item_rates`` shows them
as people want to see them, decayed to a moment of their choice.
"""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int32, Int64, String

from feature_repo import aggregates, tables, warehouses
from feature_repo.tables import Table

# How far back materialisation looks (Feast takes 0 for one year): history that was recorded long ago counts as well.
KEEP = timedelta(days=50 * 365)

tables.create_missing_tables()

customer = Entity(
    name="customer",
    join_keys=[aggregates.Entity.CUSTOMER.key],
    value_type=ValueType.STRING,
    description="a customer: the shop's user id, or the tracker's anonymous id",
)
item = Entity(
    name="item",
    join_keys=[aggregates.Entity.ITEM.key],
    value_type=ValueType.STRING,
    description="a product of the catalogue",
)
shop = Entity(
    name="shop",
    join_keys=["shop"],
    value_type=ValueType.STRING,
    description=f"the shop as a whole; its one id is {tables.SHOP!r}",
)


def _push_source(table: Table) -> PushSource:
    return PushSource(name=f"{table.name}_push", batch_source=warehouses.source(table), description=table.description)


def _activity_fields(entity: aggregates.Entity) -> list[Field]:
    fields = [
        Field(name="last_event_at", dtype=Float64, description="time of the last event, epoch seconds"),
        Field(name="event_count", dtype=Int64, description="contributing events ever"),
    ]
    for aggregate in aggregates.decayed_sums(entity):
        fields.append(Field(name=aggregate.name, dtype=Float64, description=aggregate.description))
    if sequence := aggregates.last_k(entity):
        items, details, times = sequence.columns
        what = f"in the sequence {sequence.name} of the last {sequence.k}, newest first"
        fields += [
            Field(name=items, dtype=Array(String), description=f"product ids {what}"),
            Field(name=details, dtype=Array(Int32), description=f"{sequence.detail} {what}"),
            Field(name=times, dtype=Array(Int64), description=f"epoch milliseconds {what}"),
        ]
    return fields


customer_activity = FeatureView(
    name="customer_activity",
    entities=[customer],
    ttl=KEEP,
    schema=_activity_fields(aggregates.Entity.CUSTOMER),
    source=_push_source(tables.CUSTOMER_ACTIVITY),
    description=tables.CUSTOMER_ACTIVITY.description,
)
customer_exposure = FeatureView(
    name="customer_exposure",
    entities=[customer],
    ttl=KEEP,
    schema=_activity_fields(aggregates.Entity.EXPOSURE),
    source=_push_source(tables.CUSTOMER_EXPOSURE),
    description=tables.CUSTOMER_EXPOSURE.description,
)
item_activity = FeatureView(
    name="item_activity",
    entities=[item],
    ttl=KEEP,
    schema=_activity_fields(aggregates.Entity.ITEM),
    source=_push_source(tables.ITEM_ACTIVITY),
    description=tables.ITEM_ACTIVITY.description,
)
item_transitions = FeatureView(
    name="item_transitions",
    entities=[item],
    ttl=KEEP,
    schema=[
        Field(name="next_at", dtype=Float64, description="as of when the weights hold, epoch seconds"),
        Field(
            name="next_items", dtype=Array(String), description="products that customers turn to next, strongest first"
        ),
        Field(name="next_weights", dtype=Array(Float32), description="decayed sum of each such turn, as of next_at"),
        Field(name="next_from", dtype=Float64, description="decayed sum of all turns from the item, as of next_at"),
        Field(name="next_to", dtype=Float64, description="decayed sum of all turns to the item, as of next_at"),
    ],
    source=_push_source(tables.ITEM_TRANSITIONS),
    description=tables.ITEM_TRANSITIONS.description,
)
item_catalog = FeatureView(
    name="item_catalog",
    entities=[item],
    ttl=KEEP,
    schema=[
        Field(name="name", dtype=String, description="display name"),
        Field(name="category", dtype=String, description="category path, levels separated by /"),
        Field(name="brand", dtype=String, description="brand"),
        Field(name="price", dtype=Float64, description="current price"),
        Field(name="previous_price", dtype=Float64, description="price before the last change"),
        Field(name="currency", dtype=String, description="ISO 4217 code"),
        Field(name="stock", dtype=Int64, description="pieces in stock; missing means unknown, treated as available"),
        Field(name="first_seen_at", dtype=Float64, description="when the product appeared, epoch seconds"),
    ],
    source=_push_source(tables.CATALOG),
    description=tables.CATALOG.description,
)
catalog_index = FeatureView(
    name="catalog_index",
    entities=[shop],
    ttl=KEEP,
    schema=[Field(name="product_ids", dtype=Array(String), description="ids of all products")],
    source=_push_source(tables.CATALOG_INDEX),
    description=tables.CATALOG_INDEX.description,
)

moment = RequestSource(
    name="moment", schema=[Field(name="at", dtype=Float64)], description="the moment to compute for, epoch seconds"
)


@on_demand_feature_view(
    sources=[item_activity, item_catalog, moment],
    schema=[
        Field(name="popularity", dtype=Float64),
        Field(name="click_through", dtype=Float64),
        Field(name="trend", dtype=Float64),
        Field(name="price_change", dtype=Float64),
        Field(name="age_days", dtype=Float64),
    ],
    description="an item's popularity, click-through, trend, price change and age at a moment",
)
def item_rates_at(inputs: pd.DataFrame) -> pd.DataFrame:
    """The same arithmetic as training and serving use, for notebooks and ``get_online_features``."""
    # Feast stores the body alone, so it has to bring its own names.
    import numpy as np
    import pandas as pd

    from feature_repo.aggregates import Entity
    from feature_repo.reading import current_sums, item_rates

    columns = {name: inputs[name].to_numpy() for name in inputs.columns}
    at = np.asarray(columns["at"], dtype=float)
    sums = current_sums(Entity.ITEM, columns, at)
    return pd.DataFrame(item_rates(sums, columns, at))


def _shown() -> FeatureView:
    """Of what was shown only the sequence: the other columns are named as in customer_activity."""
    return customer_exposure[list(aggregates.SHOWN.columns)]


customer_features = FeatureService(
    name="customer_features",
    features=[customer_activity, _shown()],
    description="what a service reads of a customer at each request",
)
item_features = FeatureService(
    name="item_features",
    features=[item_activity, item_catalog],
    description="what is known of items by themselves",
)
shelf_features = FeatureService(
    name="shelf_features",
    features=[item_activity, item_catalog, item_transitions],
    description="what a service keeps of every item",
)
shelf_index = FeatureService(
    name="shelf_index",
    features=[catalog_index],
    description="which items there are",
)
training_features = FeatureService(
    name="training_features",
    features=[customer_activity, _shown(), item_activity, item_catalog],
    description="what the ranker learns from, as of the moment of each impression",
)
