"""Rows in the documented schemas of Google Analytics' BigQuery exports, as BigQuery writes them into JSON lines."""

from __future__ import annotations

from typing import Any

FIRST_SECOND = 1_769_853_600  # 2026-01-31T10:00:00Z
FIRST_MICROS = FIRST_SECOND * 1_000_000 + 123_456
Row = dict[str, Any]


def ga4_param(key: str, **value: Any) -> Row:
    nothing = dict.fromkeys(("string_value", "int_value", "float_value", "double_value"))
    return {"key": key, "value": {**nothing, **value}}


def ga4_item(number: int, **changes: Any) -> Row:
    item = {
        "item_id": f"sku-{number}",
        "item_name": f"Mug {number}",
        "item_brand": "Potter",
        "item_variant": "(not set)",
        "item_category": "Kitchen",
        "item_category2": "Mugs",
        "item_category3": "(not set)",
        "item_category4": None,
        "item_category5": None,
        "price": 9.5,
        "quantity": "1",
        "coupon": "(not set)",
        "item_list_id": "shelf",
        "item_list_name": "The shelf",
        "item_list_index": str(number),
    }
    return {**item, **changes}


def ga4_row(name: str, **changes: Any) -> Row:
    """A row of ``events_20260131``; whole numbers are text, as in all JSON that BigQuery writes."""
    row = {
        "event_date": "20260131",
        "event_timestamp": str(FIRST_MICROS),
        "event_name": name,
        "event_params": [
            ga4_param("ga_session_id", int_value="1769853000"),
            ga4_param("ga_session_number", int_value="3"),
            ga4_param("page_location", string_value="https://shop.example/mugs?colour=blue"),
            ga4_param("currency", string_value="EUR"),
            ga4_param("search_term", string_value="blue mug"),
            ga4_param("transaction_id", string_value="T-param"),
            ga4_param("value", double_value=18.0),
        ],
        "event_bundle_sequence_id": "5",
        "event_server_timestamp_offset": None,
        "user_id": None,
        "user_pseudo_id": "1234.5678",
        "device": {"category": "mobile", "operating_system": "Android", "language": "de-de"},
        "geo": {"continent": "Europe", "country": "Germany", "city": "(not set)"},
        "collected_traffic_source": {"manual_source": "google", "manual_medium": "cpc"},
        "stream_id": "987",
        "platform": "WEB",
        "ecommerce": {"transaction_id": "T-1", "purchase_revenue": 19.0, "total_item_quantity": "2"},
        "items": [ga4_item(1), ga4_item(2)],
        "batch_page_id": "1769853000001",
        "batch_ordering_id": "2",
        "batch_event_index": "1",
    }
    return {**row, **changes}


def ga360_product(number: int, **changes: Any) -> Row:
    product = {
        "productSKU": f"sku-{number}",
        "v2ProductName": f"Mug {number}",
        "v2ProductCategory": "Kitchen/Mugs",
        "productVariant": "(not set)",
        "productBrand": "Potter",
        "productPrice": "10500000",
        "localProductPrice": "9500000",
        "productQuantity": None,
        "productListName": "Shelf",
        "productListPosition": str(number),
        "isImpression": None,
        "isClick": None,
        "productCouponCode": None,
    }
    return {**product, **changes}


def ga360_hit(number: int, action: str, *products: Row, **changes: Any) -> Row:
    hit = {
        "hitNumber": str(number),
        "time": str(number * 1_500),
        "type": "PAGE",
        "page": {"pagePath": "/mugs?colour=blue", "searchKeyword": None},
        "eCommerceAction": {"action_type": action, "step": "1", "option": None},
        "product": list(products),
        "transaction": None,
    }
    return {**hit, **changes}


def ga360_row(*hits: Row, **changes: Any) -> Row:
    """A row of ``ga_sessions_20260131``: a session."""
    row = {
        "fullVisitorId": "7000000001",
        "userId": None,
        "visitNumber": "2",
        "visitId": str(FIRST_SECOND),
        "visitStartTime": str(FIRST_SECOND),
        "date": "20260131",
        "channelGrouping": "Paid Search",
        "device": {"deviceCategory": "tablet", "operatingSystem": "iOS", "language": "fr-fr"},
        "geoNetwork": {"continent": "Europe", "country": "France"},
        "hits": list(hits),
    }
    return {**row, **changes}
