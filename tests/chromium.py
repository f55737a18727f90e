"""A browser of Chromium's kind without windows, that reaches this machine only."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
# Nothing of the browser's own calls out either.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def installed() -> str | None:
    """The path of one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running(browser: str, profile: Path, address: str) -> Iterator[None]:
    """A browser has an address open; ``profile`` is its own folder, with its log."""
    with (profile / "browser.log").open("wb") as log:
        words = [browser, *FLAGS, f"--user-data-dir={profile}", address]
        process = psutil.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        # Debian starts the browser from a script, and the browser has processes of its own.
        family = [process, *process.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, 20)
        assert not alive
