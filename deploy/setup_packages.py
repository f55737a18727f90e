"""Set-up step: the locked Python packages into ``.venv``. Standard library only (runs before packages exist)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
UV = ENVIRONMENT / "bin" / "uv"
UV_LOCK = ROOT / "deploy" / "uv.lock.txt"
# Present while packages are being installed. If a run finds it, the one before was cut off and a package may be
# half there although its metadata says that it is complete.
UNFINISHED = ENVIRONMENT / ".packages-unfinished"


def main() -> None:
    """Install uv, then everything in requirements.lock, then this project itself."""
    try:
        ensure_uv()
        install_locked()
    except subprocess.CalledProcessError as error:
        sys.exit(f"Set-up cannot go on: `{' '.join(error.cmd)}` failed (its messages are above). Is the network there?")


def ensure_uv() -> None:
    """Bring the pinned uv into the environment with pip, checked against its hashes."""
    pinned = UV_LOCK.read_text().split(maxsplit=1)[0].removeprefix("uv==")
    if UV.exists() and f"uv {pinned}" in _output([str(UV), "--version"]):
        return
    if not _output([sys.executable, "-m", "pip", "--version"]):
        _run([sys.executable, "-m", "ensurepip"])
    options = ["--require-hashes", "--disable-pip-version-check", "--quiet", "--force-reinstall"]
    _run([sys.executable, "-m", "pip", "install", *options, "-r", str(UV_LOCK)])


def install_locked() -> None:
    """Install what is missing, or everything anew after an interrupted run."""
    again = ["--reinstall"] if UNFINISHED.exists() else []
    UNFINISHED.touch()
    # Compiled now, because many machines forbid Python to write bytecode later and every start would pay for it.
    _uv(*again, "--compile-bytecode", "--require-hashes", "-r", "requirements.lock")
    _uv("--no-deps", "--no-build-isolation", "--editable", ".")
    UNFINISHED.unlink()


def _uv(*arguments: str) -> None:
    _run([str(UV), "pip", "install", "--python", sys.executable, *arguments])


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, env={**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT)}, check=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main()
