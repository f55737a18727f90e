"""The file that says what to pull, its presets, and what is remembered between pulls."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from feature_repo.settings import PROJECT_ROOT
from ingestion.__main__ import main
from ingestion.crm import config, state
from ingestion.crm.api import _paginator, _with
from ingestion.crm.state import PullState, ResourceState

SHOP = 'preset = "shopify"\nbase_url = "https://my-shop.myshopify.com/admin/api/2025-10"\n'
MOMENT = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def load(folder: Path, text: str) -> config.PullConfig:
    path = folder / "shop.toml"
    path.write_text(text)
    return config.load(path)


def test_a_preset_is_complete_but_for_the_shop(tmp_path: Path) -> None:
    shop = load(tmp_path, SHOP)
    assert (shop.name, list(shop.resources)) == ("shop", ["customers", "orders"])
    assert shop.auth.header == "X-Shopify-Access-Token"
    assert "email" not in shop.model_dump_json()


@pytest.mark.parametrize("preset", config.presets())
def test_every_preset_has_a_paginator_of_dlt_and_asks_for_news(tmp_path: Path, preset: str) -> None:
    loaded = load(tmp_path, f'preset = "{preset}"\nbase_url = "https://example.com"\n')
    for resource in loaded.resources.values():
        assert _paginator(resource).has_next_page
        told = resource.incremental.told(MOMENT)
        asked = json.dumps([_with(resource.params, told), _with(resource.body, told)])
        assert f'"{told}"' in asked
        assert "{" + "incremental" not in asked


def test_what_a_file_says_goes_over_its_preset(tmp_path: Path) -> None:
    more = '[orders]\nskip_if = ["test"]\n[orders.product]\nproduct_id = ["sku", "product_id"]\n'
    shop = load(tmp_path, SHOP + "customers = false\n" + more)
    assert list(shop.resources) == ["orders"]
    assert shop.orders is not None
    assert (shop.orders.skip_if, shop.orders.product.product_id) == (["test"], ("sku", "product_id"))
    assert shop.orders.product.price == "price"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('preset = "magento"', "preset is none of hubspot, shopify"),
        (SHOP.replace("https", "http"), "base_url: must begin with https://"),
        (SHOP.replace("my-shop", "user:secret@my-shop"), "must hold no user, password or query"),
        (SHOP + "tokn = 1", "tokn: Extra inputs are not permitted"),
        (SHOP + 'name = "My Shop"', "name: String should match"),
        (SHOP + "orders = false\ncustomers = false", "nothing to pull"),
        (SHOP + '[orders.params]\nupdated_at_min = "2026-01-01"', "everything would be read each time"),
        (SHOP + "[orders]\nmost_results = 10\n[orders.incremental]\nascending = false", "needs ascending records"),
        ("preset = ", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_the_files_of_the_documentation_are_complete(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (PROJECT_ROOT / "docs" / "crm.md").read_text(), re.DOTALL)
    loaded = [load(tmp_path, block) for block in blocks]
    assert [of.auth.secret_env for of in loaded] == ["SHOPIFY_ACCESS_TOKEN", "HUBSPOT_ACCESS_TOKEN", "ERP_TOKEN"]
    for of in loaded:
        assert all(_paginator(resource) for resource in of.resources.values())


def test_a_paginator_that_dlt_does_not_know(tmp_path: Path) -> None:
    shop = load(tmp_path, SHOP + '[orders]\npaginator = { type = "telepathy" }\n')
    assert shop.orders is not None
    with pytest.raises(InputError, match="telepathy"):
        _paginator(shop.orders)


def test_times_are_told_as_the_api_wants_them_and_never_later() -> None:
    def told(form: str) -> str:
        return config.Incremental.model_validate({"cursor_path": "x", "format": form}).told(MOMENT)

    assert (told("iso"), told("epoch"), told("epoch_ms")) == ("2026-03-01T12:00:00Z", "1772366400", "1772366400999")


@pytest.mark.usefixtures("warehouse")
def test_what_is_remembered_is_found_again_and_never_mixed_up() -> None:
    kept = PullState(host="a.example", resources={"orders": ResourceState(cursor=MOMENT, failure="no")})
    kept.save("shop")
    assert state.load("shop", "a.example") == kept
    assert state.all_states() == {"shop": kept}
    assert state.load("other", "b.example").resources == {}
    with pytest.raises(InputError, match=r"pulled from a\.example before, and base_url is of b\.example"):
        state.load("shop", "b.example")
    state._path("shop").write_text("{")
    with pytest.raises(InputError, match="delete it to read everything again"):
        state.load("shop", "a.example")


def test_check_shows_the_whole_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(SHOP)
    assert main(["pull", str(path), "--check"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["orders"]["params"]["updated_at_min"] == "{incremental.start_value}"
