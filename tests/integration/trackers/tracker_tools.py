"""What the tests with real trackers share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import chromium
import pytest

KEY = "tracker-write-key"
FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
CALL_TYPES = ("identify", "track", "page", "screen", "group", "alias")


def node() -> str:
    """The Node interpreter, with the trackers installed."""
    found = shutil.which("node")
    if found is None:
        _missing("Node is")
    if not (MODULES / "@segment").is_dir():
        _missing("the JavaScript trackers are")
    return found


def browser() -> str:
    """A browser of Chromium's kind; the trackers are installed."""
    node()
    found = chromium.installed()
    if found is None:
        _missing("a browser (chromium) is")
    return found


def _missing(what: str) -> NoReturn:
    message = f"{what} not installed; run: sh tests/integration/trackers/install.sh"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
