"""``make airflow-setup``: Airflow into ``.venv-airflow``, as locked; its packages and those of ``.venv`` exclude each other."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from deploy.setup_packages import ROOT, UV

ENVIRONMENT = ROOT / ".venv-airflow"
LOCK = ROOT / "deploy" / "airflow.lock"
# Written when all packages are there. An environment without it was cut off while it was made, and is made anew.
_STAMP = ENVIRONMENT / ".setup-done"


def is_set_up() -> bool:
    """Whether the environment is what the lock file says."""
    return _STAMP.is_file() and _STAMP.read_text() == _fingerprint()


def main() -> None:
    """Make the environment what the lock file says; returns at once if it is."""
    if is_set_up():
        return
    print("==> Airflow in .venv-airflow, as locked in deploy/airflow.lock", flush=True)
    _STAMP.unlink(missing_ok=True)
    python = ENVIRONMENT / "bin" / "python"
    for words in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)],
        ["pip", "install", "--python", str(python), "--compile-bytecode", "--require-hashes", "-r", str(LOCK)],
    ):
        try:
            subprocess.run([str(UV), *words], cwd=ROOT, check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"Set-up cannot go on: `{' '.join(error.cmd)}` failed (its messages are above). Is the network there?"
            )
    _STAMP.write_text(_fingerprint())


def _fingerprint() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
