"""A Chromium without windows, driven by its DevTools protocol: pages, keys, pictures, and every address that it asks for."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import chromium
import httpx
import pytest
from waiting import until
from websockets.sync.client import ClientConnection, connect

KEYS = {"Enter": ("\r", 13), "Tab": ("", 9)}


class ShopBrowser:
    """One page.

    Attributes:
        hosts: host:port of everything that was asked for.
        faults: what the page threw or was forbidden.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.hosts: set[str] = set()
        self.faults: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(timeout=30))
            if said.get("id") == self._number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        if said["method"] == "Network.requestWillBeSent":
            address = urlsplit(said["params"]["request"]["url"])
            if address.scheme != "data":
                self.hosts.add(address.netloc)
        elif said["method"] == "Runtime.exceptionThrown" or (
            said["method"] == "Log.entryAdded" and said["params"]["entry"]["source"] in ("security", "violation")
        ):
            self.faults.append(json.dumps(said["params"]))

    def show(self, address: str, width: int = 1280, height: int = 900) -> None:
        """Open a page and wait until the shop is ready."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Page.navigate", url=address)
        until(lambda: self.tell("document.body?.dataset.ready === 'yes'"))

    def tell(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as a person presses it."""
        text, code = KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def picture(self, path: Path) -> None:
        """Keep what is seen, as PNG or WebP by the file's name."""
        kind = {"format": "webp", "quality": 85} if path.suffix == ".webp" else {"format": "png"}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **kind)["data"]))


@contextmanager
def shop_browser(profile: Path) -> Iterator[ShopBrowser]:
    """A browser with an empty page."""
    found = chromium.installed()
    if found is None:
        message = "a browser (chromium) is not installed; run: sh tests/integration/trackers/install.sh"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with chromium.running(found, profile, "about:blank"):
        port = profile / "DevToolsActivePort"
        until(lambda: port.exists() and port.read_text().strip())
        pages = httpx.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list").json()
        [address] = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
        with connect(address, max_size=None, proxy=None) as socket:
            yield ShopBrowser(socket)
