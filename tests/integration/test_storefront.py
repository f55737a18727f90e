"""The storefront in a real browser on the real stack: what a click changes, and what the page must never do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from offline_data import now
from shop_browser import ShopBrowser, shop_browser
from shop_stack import ShopStack, shop_stack
from waiting import until

EVIL = "<img src=x onerror=document.title='taken'>"
STEPS = ["accepted", "kafka", "processed", "feature", "changed"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShopStack]:
    with shop_stack(tmp_path_factory.mktemp("storefront")) as shop:
        shop.materialise()
        shop.train()
        shop.deploy("up", "kafka", "redis", "collector", "stream", "serving")
        yield shop


@pytest.fixture(scope="module")
def address(shop: ShopStack) -> str:
    address = f"http://127.0.0.1:{shop.stack.port('SERVING__PORT')}"
    until(lambda: httpx.get(f"{address}/storefront/shop").json()["model_version"])
    return address


@pytest.fixture
def page(tmp_path: Path, address: str) -> Iterator[ShopBrowser]:
    with shop_browser(tmp_path) as page:
        page.show(address)
        yield page


def products(page: ShopBrowser, shelf: str) -> list[str]:
    found: list[str] = page.tell(f"[...document.querySelectorAll('#{shelf} .card')].map(card => card.dataset.product)")
    return found


def wait_for_way(page: ShopBrowser, event: str) -> list[str]:
    """The times of an event, when all are there."""

    def times() -> list[str]:
        if event not in page.tell("document.querySelector('#way').innerText"):
            return []
        read: list[str] = page.tell("[...document.querySelectorAll('.way .number')].map(one => one.innerText)")
        return [] if "…" in read else read

    until(times, 60)
    return times()


def test_a_click_changes_the_shelves_and_its_way_is_shown(page: ShopBrowser, shop: ShopStack, address: str) -> None:
    assert page.tell("document.querySelector('#hint').hidden"), page.tell("document.querySelector('#hint').innerText")
    before = products(page, "home")
    assert len(before) == 10
    clicked = products(page, "trending")[-1]
    page.tell("[...document.querySelectorAll('#trending .card')].at(-1).click()")
    times = wait_for_way(page, "Product Viewed")
    assert len(times) == len(STEPS)
    assert all(time.endswith(" ms") for time in times), times
    assert products(page, "home") != before
    assert "because you viewed" in page.tell("document.querySelector('#home').innerText").lower()
    assert page.tell("document.querySelector('#viewed h2').innerText").startswith("Because you viewed")
    assert clicked not in products(page, "viewed")
    assert "views_1d" in page.tell("document.querySelector('#features').innerText")
    assert page.tell("document.querySelector('#model').innerText").strip()

    page.tell("document.querySelector('#add').click()")
    wait_for_way(page, "Product Added")
    until(lambda: products(page, "cart-shelf"))
    assert "in your cart" in page.tell("document.querySelector('#cart-shelf').innerText")
    page.tell("document.querySelector('#buy').click()")
    assert wait_for_way(page, "Order Completed")[3].endswith(" ms")

    collector = f"127.0.0.1:{shop.stack.port('COLLECTOR__PORT')}"
    assert page.hosts == {address.removeprefix("http://"), collector}
    assert page.faults == []
    assert page.tell("document.cookie") == ""


def test_by_keyboard_alone_a_product_gets_into_the_cart(page: ShopBrowser) -> None:
    for _ in range(60):
        page.press("Tab")
        if page.tell("document.activeElement.classList.contains('card')"):
            break
    page.press("Enter")
    until(lambda: page.tell("document.activeElement.id === 'product'"))
    page.press("Tab")
    page.press("Enter")
    until(lambda: page.tell("document.querySelector('#cart-open').innerText") == "Cart (1)")
    assert wait_for_way(page, "Product Added")[3].endswith(" ms")


def test_what_another_tab_does_is_not_this_visitors(page: ShopBrowser) -> None:
    # Segment's library keeps its customer for all tabs of a browser.
    page.tell("localStorage.setItem('ajs_user_id', JSON.stringify('of-another-tab'))")
    page.tell("document.querySelector('#trending .card').click()")
    times = wait_for_way(page, "Product Viewed")
    assert times[3].endswith(" ms"), "the feature of this visitor was updated"


def test_a_product_has_an_address_to_go_back_to(page: ShopBrowser, address: str) -> None:
    def shown() -> str | None:
        name: str | None = page.tell(
            "document.querySelector('#product').hidden ? null : document.querySelector('#product h2').innerText"
        )
        return name

    page.tell("document.querySelectorAll('#trending .card')[0].click()")
    first = shown()
    wait_for_way(page, "Product Viewed")
    page.tell("[...document.querySelectorAll('#trending .card')].at(-1).click()")
    wait_for_way(page, "Product Viewed")
    assert first != shown()
    page.tell("history.back()")
    until(lambda: shown() == first)
    page.tell("history.back()")
    until(lambda: shown() is None)
    page.tell("history.forward()")
    until(lambda: shown() == first)
    page.call("Page.reload")
    until(lambda: page.tell("document.body?.dataset.ready === 'yes'"))
    until(lambda: shown() == first)


def test_what_was_found_stays_while_one_looks_at_it(page: ShopBrowser, shop: ShopStack) -> None:
    word = shop.shop.product(1)["name"].split()[0]
    page.tell(f"document.querySelector('#words').value = {word!r}; document.querySelector('#search').requestSubmit()")
    until(lambda: products(page, "browse"))
    found = products(page, "browse")
    page.tell("document.querySelector('#browse .card').click()")
    wait_for_way(page, "Product Viewed")
    assert products(page, "browse") == found
    page.tell(
        "document.querySelector('#words').value = 'called so?'; document.querySelector('#search').requestSubmit()"
    )
    until(lambda: "Nothing was found" in page.tell("document.querySelector('#browse').innerText"))


def test_what_others_have_written_into_the_browsers_storage_does_no_harm(page: ShopBrowser, address: str) -> None:
    for store in ("localStorage", "sessionStorage"):
        page.tell(f"{store}.setItem('storefront-customer', '{{bad')")
    page.show(address)
    assert len(products(page, "home")) == 10
    page.tell("sessionStorage.setItem('storefront-customer', JSON.stringify({known: true}))")
    page.show(address)
    assert len(products(page, "home")) == 10


def test_a_phone_need_not_scroll_sideways(page: ShopBrowser, address: str) -> None:
    page.show(address, width=375, height=700)
    page.tell("document.querySelector('.card').click()")
    wait_for_way(page, "Product Viewed")
    assert page.tell("document.documentElement.scrollWidth") == 375


def test_a_name_with_markup_stays_text(page: ShopBrowser, shop: ShopStack, address: str) -> None:
    from offline_data import catalog_rows

    from feature_repo.tables import CATALOG

    rows = [row for row in catalog_rows(shop.shop, now()) if row["product_id"] == "p1"]
    shop._push("catalog_push", CATALOG, [{**rows[0], "name": EVIL}])
    until(lambda: "p1" in httpx.get(f"{address}/storefront/search", params={"q": "onerror"}).json()["products"], 60)
    page.show(address)
    page.tell("document.querySelector('#words').value = 'onerror'; document.querySelector('#search').requestSubmit()")
    until(lambda: products(page, "browse") == ["p1"])
    page.tell("document.querySelector('#browse .card').click()")
    assert EVIL in page.tell("document.querySelector('#product h2').textContent")
    assert page.tell("document.querySelectorAll('main img').length") == 0
    assert page.tell("document.title") == "Shelfwise storefront"


def test_without_the_library_the_page_says_what_to_do(page: ShopBrowser, address: str) -> None:
    page.call("Network.setBlockedURLs", urls=["*/storefront/segment/*"])
    page.show(address)
    assert "deploy.setup_browser_library" in page.tell("document.querySelector('#hint').innerText")
    assert len(products(page, "home")) == 10


def test_errors_have_the_one_shape(address: str) -> None:
    for path in ("/storefront/customer", "/storefront/search", "/storefront/nothing"):
        answer = httpx.get(address + path)
        assert answer.status_code in (404, 422)
        assert set(answer.json()["error"]) == {"code", "message", "field"}
    policy = httpx.get(address).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
