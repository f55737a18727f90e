"""Takes the README's picture of the storefront: ``python tests/integration/storefront_picture.py docs/pictures/storefront.webp``.

A shop of its own is made first, with invented products and customers. With a second argument, the address of a running storefront
(that of `make demo`, for example), that one is shown.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "integration")]

from shop_browser import shop_browser  # noqa: E402
from shop_stack import shop_stack  # noqa: E402
from waiting import until  # noqa: E402


@contextmanager
def own_shop() -> Iterator[str]:
    """The address of a storefront made for the picture."""
    with tempfile.TemporaryDirectory() as home, shop_stack(Path(home)) as shop:
        shop.materialise()
        shop.train()
        shop.deploy("up", "kafka", "redis", "collector", "stream", "serving")
        address = f"http://127.0.0.1:{shop.stack.port('SERVING__PORT')}"
        until(lambda: httpx.get(f"{address}/storefront/shop").json()["model_version"])
        yield address


def take(address: str, target: Path) -> None:
    """A visitor views two products and puts one into the cart; then the picture."""
    with tempfile.TemporaryDirectory() as profile, shop_browser(Path(profile)) as page:
        page.show(address, height=1000)
        for event, press in (
            ("Product Viewed", "document.querySelectorAll('#trending .card')[2].click()"),
            ("Product Added", "document.querySelector('#add').click()"),
        ):
            page.tell(press)
            until(lambda event=event: event in page.tell("document.querySelector('#way').innerText"))  # type: ignore[misc]
            until(lambda: "…" not in page.tell("document.querySelector('#way').innerText"))
        target.parent.mkdir(parents=True, exist_ok=True)
        page.picture(target)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        take(sys.argv[2], Path(sys.argv[1]))
    else:
        with own_shop() as own:
            take(own, Path(sys.argv[1]))
