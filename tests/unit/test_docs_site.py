"""The documentation builds without a warning, and its pages load nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from feature_repo.settings import PROJECT_ROOT

OUTSIDE = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)
# Attributes whose address a browser loads by itself; `a href` is followed by people only.
LOADED = {
    "link": ("href",),
    "script": ("src",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "object": ("data",),
    "form": ("action",),
}


class Loads(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if value and name in LOADED.get(tag, ())]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    written = {f"{path.stem}.html" for path in (PROJECT_ROOT / "docs").glob("*.md")}
    assert pages >= {"index.html", "benchmarks.html", "reference/settings.html", "reference/commands.html"} | written
    assert "SHELFWISE_KAFKA__PORT" in (site / "reference" / "settings.html").read_text()


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    looked_at = 0
    for page in site.rglob("*.html"):
        text = page.read_text()
        loads = Loads(text).found
        looked_at += len(loads)
        assert not [address for address in loads if OUTSIDE.match(address)], page.name
        assert 'class="mermaid"' not in text, "Material fetches the library for such diagrams from another host"
    assert looked_at > 50
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text()), sheet.name


def test_an_outside_address_would_be_noticed() -> None:
    loads = Loads('<link href="//x/y.css"><script src="https://x/y.js"></script><a href="https://x">x</a>').found
    assert [bool(OUTSIDE.match(address)) for address in loads] == [True, True]
