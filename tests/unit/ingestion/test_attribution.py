"""Which list gets the credit: by hand-written events, by a plain reading of the rule, and bit by bit."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import few_events
import offline_data
import pytest
from deltalake import DeltaTable, write_deltalake
from few_events import START

from feature_repo import tables
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.settings import get_settings
from ingestion.outcomes.table import differing_days, refresh

pytestmark = pytest.mark.usefixtures("warehouse")


def answer(minute: float, request_id: str, *products: str, **more: Any) -> dict[str, Any]:
    """A row of the recommendations table."""
    at = START + timedelta(minutes=minute)
    items = [{"product_id": product, "source": f"s{place}", "score": 1.0} for place, product in enumerate(products)]
    given = {"scenario": "home", "model_version": "v1", **more}
    return {"request_id": request_id, "answered_at": at, "dt": at.date(), "items": items, **given}


def shown(minute: float, customer: str, request_id: str | None, *products: str) -> dict[str, Any]:
    return few_events.event(minute, customer, None, LIST_VIEWED, *products, request_id=request_id)


def store(events: list[dict[str, Any]], answers: list[dict[str, Any]] | None = None) -> None:
    few_events.store(events)
    if answers:
        write_deltalake(tables.RECOMMENDATIONS.uri, offline_data.arrow(tables.RECOMMENDATIONS, answers), mode="append")


def outcomes() -> dict[str, dict[str, Any]]:
    """Rows of the outcomes table by request, with what was clicked, carted, ordered and its revenue by product."""
    refresh()
    rows = DeltaTable(tables.OUTCOMES.uri).to_pyarrow_table().to_pylist()
    return {
        row["request_id"]: row
        | {
            name: {item["product_id"] for item in row["items"] if item[f"{name}_at"]}
            for name in ("clicked", "carted", "ordered")
        }
        | {"revenue": sum(item["revenue"] or 0 for item in row["items"])}
        for row in rows
    }


def act(minute: float, customer: str, name: str, product: str, **more: Any) -> dict[str, Any]:
    return few_events.event(minute, customer, None, name, product, **more)


def test_what_follows_a_list_counts_for_it_within_its_time() -> None:
    order = act(100, "ada", ORDERED, "cup", order_id="o1")
    order["products"] = [{"product_id": "cup", "price": 7.5, "quantity": 2}, {"product_id": "rake", "price": 1.0}]
    store(
        [
            shown(0, "ada", "r1", "cup", "pan", "rake"),
            act(1, "ada", CLICKED, "cup"),
            act(2, "bob", CLICKED, "pan"),
            act(20, "ada", ADDED, "cup"),
            act(31, "ada", VIEWED, "pan"),
            order,
        ],
        [answer(0, "r1", "cup", "pan")],
    )
    [found] = outcomes().values()
    assert [(item["product_id"], item["source"], item["place"]) for item in found["items"]] == [
        ("cup", "s0", 1),
        ("pan", "s1", 2),
    ], "the page has added the rake itself"
    assert found["clicked"] == {"cup"}, "another customer clicked the pan, and this one too late"
    assert (found["carted"], found["ordered"], found["revenue"]) == ({"cup"}, {"cup"}, 15.0)
    assert (found["scenario"], found["model_version"], found["answered"]) == ("home", "v1", True)


def test_the_latest_list_that_showed_it_gets_the_credit() -> None:
    store(
        [
            shown(0, "ada", "r1", "cup", "pan"),
            shown(1, "ada", "r2", "cup"),
            shown(2, "ada", None, "pan"),
            act(3, "ada", CLICKED, "cup"),
            act(3, "ada", CLICKED, "pan"),
            act(4, "ada", CLICKED, "cup"),
        ],
        [answer(0, "r1", "cup", "pan"), answer(1, "r2", "cup")],
    )
    found = outcomes()
    assert found["r1"]["clicked"] == set()
    assert found["r2"]["clicked"] == {"cup"}
    assert found["r2"]["items"][0]["clicked_at"] == START + timedelta(minutes=3)


def test_a_visitor_who_logs_in_stays_the_same_customer() -> None:
    login = few_events.event(5, "ada", None, "", anonymous_id="device", user_id="ada") | {
        "type": "identify",
        "event": None,
    }
    late = few_events.event(9_000, "eve", None, "", anonymous_id="tablet", user_id="eve") | {
        "type": "identify",
        "event": None,
    }
    store(
        [
            shown(0, "device", "r1", "cup"),
            login,
            act(6, "ada", CLICKED, "cup"),
            shown(7, "tablet", "r2", "pan"),
            act(8, "eve", CLICKED, "pan"),
            late,
        ],
        [answer(0, "r1", "cup"), answer(7, "r2", "pan")],
    )
    found = outcomes()
    assert (found["r1"]["person"], found["r1"]["clicked"]) == ("ada", {"cup"})
    assert (found["r2"]["person"], found["r2"]["clicked"]) == ("tablet", set()), "that is known too late to count"


def test_a_list_whose_answer_is_not_known_is_kept_apart() -> None:
    store(
        [shown(0, "ada", "forged", "cup", "pan"), act(1, "ada", CLICKED, "pan"), shown(3_000, "ada", "old", "cup")],
        [answer(0, "old", "cup")],
    )
    found = outcomes()
    assert (found["forged"]["answered"], found["forged"]["scenario"]) == (False, None)
    assert found["forged"]["clicked"] == {"pan"}
    assert found["old"]["answered"] is False, "an answer of two days ago"


def test_an_answer_that_is_stored_after_its_list() -> None:
    store([shown(0, "ada", "r1", "cup"), act(2_000, "ada", ORDERED, "cup", order_id="o1")])
    assert outcomes()["r1"]["answered"] is False
    store([], [answer(0, "r1", "cup")])
    found = outcomes()["r1"]
    assert (found["answered"], found["ordered"]) == (True, set()), "the order came later than 24 hours"


def test_other_windows_count_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    store([shown(0, "ada", "r1", "cup"), act(45, "ada", CLICKED, "cup")], [answer(0, "r1", "cup")])
    assert outcomes()["r1"]["clicked"] == set()
    monkeypatch.setenv("SHELFWISE_OUTCOMES__CLICK_MINUTES", "60")
    get_settings.cache_clear()
    assert outcomes()["r1"]["clicked"] == {"cup"}


def test_no_news_no_work() -> None:
    store([shown(0, "ada", "r1", "cup")], [answer(0, "r1", "cup")])
    assert refresh() == 1
    assert refresh() == 0
    store([act(60 * 24 * 3, "ada", CLICKED, "cup")])
    assert refresh() == 0, "that cannot be due to a list of three days ago"
    store([act(1, "ada", CLICKED, "cup")])
    assert refresh() == 1


def some_history(draw: random.Random) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Four days of three customers with few products, so that lists compete for everything; moments often coincide."""
    events, answers = [], []
    names = (CLICKED, VIEWED, ADDED, ORDERED)
    for number in range(400):
        minute, customer = draw.randrange(0, 4 * 24 * 60, 5), draw.choice(("ada", "bob", "device"))
        products = draw.sample(("a", "b", "c", "d", "e"), draw.randint(1, 4))
        if draw.random() < 0.4:
            request_id = f"r{number}" if draw.random() < 0.6 else None
            event = shown(minute, customer, request_id, *products)
            if request_id and draw.random() < 0.9:
                answers.append(answer(minute - 1, request_id, *draw.sample(("a", "b", "c", "d", "e"), 4)))
        else:
            event = act(minute, customer, draw.choice(names), products[0])
            event["products"][0] |= {"price": float(draw.randint(1, 9)), "quantity": draw.randint(1, 3)}
        events.append(event | {"message_id": f"m{number:03}"})
    for number, minute in enumerate((700, 3_000)):
        tie = few_events.event(minute, "ada", None, "", anonymous_id="device", user_id=("ada", "bob")[number])
        events.append(tie | {"type": "identify", "event": None, "message_id": f"t{number}"})
    return events, answers


def plainly(events: list[dict[str, Any]], answers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By message id of each recommended list: product to (clicked, carted, ordered, revenue), by the letter of the rule."""
    ties = sorted((e["timestamp"], e["user_id"]) for e in events if e["type"] == "identify")
    day, half_hour = timedelta(hours=24), timedelta(minutes=30)

    def person(event: dict[str, Any]) -> str:
        if event["customer_id"] != "device":
            return str(event["customer_id"])
        before = [user for at, user in ties if at <= event["timestamp"]]
        after = [user for at, user in ties if event["timestamp"] < at]
        if before:
            return before[-1]
        first = next((at for at, _ in ties if event["timestamp"] < at), datetime.max.replace(tzinfo=UTC))
        return after[0] if after and first <= event["timestamp"] + day else "device"

    lists = [e for e in events if e["event"] == LIST_VIEWED]
    known = {a["request_id"]: [item["product_id"] for item in a["items"]] for a in answers}
    found: dict[str, dict[str, Any]] = {}
    for one in lists:
        if one["request_id"]:
            of = {p["product_id"] for p in one["products"]}
            kept = of & set(known[one["request_id"]]) if one["request_id"] in known else of
            found[one["message_id"]] = {product: [None, None, None, None] for product in kept}
    for event in sorted(events, key=lambda e: e["timestamp"]):
        if event["event"] not in (CLICKED, VIEWED, ADDED, ORDERED):
            continue
        for line in event["products"]:
            product, at = line["product_id"], event["timestamp"]
            candidates = [
                (one["timestamp"], one["request_id"] is not None, one["message_id"])
                for one in lists
                if person(one) == person(event)
                and one["timestamp"] <= at
                and product in {p["product_id"] for p in one["products"]}
            ]
            if not candidates:
                continue
            latest = max(moment for moment, *_ in candidates)
            same = [candidate for candidate in candidates if candidate[0] == latest]
            tracked = [candidate for candidate in same if candidate[1]] or same
            message_id = min(candidate[2] for candidate in tracked)
            if at > latest + day or product not in found.get(message_id, {}):
                continue
            credit = found[message_id][product]
            if at <= latest + half_hour:
                credit[0] = credit[0] or at
            if event["event"] == ADDED:
                credit[1] = credit[1] or at
            if event["event"] == ORDERED:
                credit[2] = credit[2] or at
                credit[3] = (credit[3] or 0.0) + line["price"] * line["quantity"]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_bit_by_bit_in_any_order_gives_what_the_rule_says(seed: int) -> None:
    draw = random.Random(seed)
    events, answers = some_history(draw)
    wanted = plainly(events, answers)
    pieces = [("events", [event]) for event in events] + [("answers", [one]) for one in answers]
    draw.shuffle(pieces)
    for start in range(0, len(pieces), 120):
        part = pieces[start : start + 120]
        store(
            [row for kind, rows in part if kind == "events" for row in rows],
            [row for kind, rows in part if kind == "answers" for row in rows],
        )
        refresh()
    stored = {
        row["message_id"]: {
            item["product_id"]: [item["clicked_at"], item["carted_at"], item["ordered_at"], item["revenue"]]
            for item in row["items"]
        }
        for row in DeltaTable(tables.OUTCOMES.uri).to_pyarrow_table().to_pylist()
    }
    assert stored == wanted
    assert sum(credit[0] is not None for of in wanted.values() for credit in of.values()) > 10
    assert differing_days() == []


def test_what_was_tampered_with_is_noticed() -> None:
    store([shown(0, "ada", "r1", "cup"), act(1, "ada", CLICKED, "cup")], [answer(0, "r1", "cup")])
    refresh()
    DeltaTable(tables.OUTCOMES.uri).update({"model_version": "'v2'"})
    assert differing_days() == [START.date()]
    refresh(recompute=True)
    assert differing_days() == []
