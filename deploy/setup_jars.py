"""Set-up step: the broker's and Spark's jars, as locked in ``deploy/jars.lock``; ``--with cdc``, also Kafka Connect's.

``python -m deploy.setup_jars --lock`` fetches them anew and writes jars.lock (after a change to an ``*.ivy.xml``).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.ivy import JarError, fetch
from deploy.java import JavaError
from feature_repo.settings import SettingsError, get_settings

LOCK = Path(__file__).resolve().with_name("jars.lock")
FOLDERS = ("kafka", "spark")
# What only some need, by the name that `--with` and `make up WITH=` know it by.
EXTRAS = {"cdc": ("connect", "debezium")}

Checksums = dict[str, str]  # file name -> SHA-256 in hexadecimal


def main(arguments: Sequence[str] | None = None) -> None:
    """Bring the jar folders to the state that the lock names, or write the lock."""
    parser = argparse.ArgumentParser(prog="python -m deploy.setup_jars", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="fetch everything anew and write jars.lock")
    parser.add_argument("--with", dest="extra", choices=sorted(EXTRAS), help="also what only some need")
    options = parser.parse_args(arguments)
    try:
        jars = get_settings().jars
        if options.lock:
            write_lock(jars)
        else:
            locked = read_lock(LOCK.read_text())
            wanted = (*FOLDERS, *EXTRAS.get(options.extra, ()))
            ensure_jars(jars, {folder: locked[folder] for folder in wanted})
    except (JarError, JavaError, SettingsError) as error:
        sys.exit(f"Set-up cannot go on: {error}")


def ensure_jars(home: Path, locked: dict[str, Checksums]) -> None:
    """Fetch each folder of which a jar is missing or different, and remove what is not locked.

    Raises:
        JarError: a download failed or does not match the lock.
    """
    wanting = [folder for folder in locked if differences(home / folder, locked[folder])]
    for folder, part in fetch(home, wanting).items():
        if wrong := differences(part, locked[folder]):
            shutil.rmtree(part)
            raise JarError(
                f"{folder} jars differ from deploy/jars.lock: {'; '.join(wrong)}. Nothing was installed. "
                "If an *.ivy.xml was changed on purpose, run `make lock`; otherwise the download was altered."
            )
        move_into_place(part, home / folder)
    for folder, expected in locked.items():
        remove_others(home / folder, expected)


def differences(folder: Path, expected: Checksums) -> list[str]:
    """What is missing from a folder or has another checksum than expected, in words."""
    wrong = []
    for name, checksum in expected.items():
        jar = folder / name
        if not jar.exists():
            wrong.append(f"{name} is missing")
        elif (found := sha256(jar)) != checksum:
            wrong.append(f"{name} has SHA-256 {found} instead of {checksum}")
    return wrong


def move_into_place(part: Path, folder: Path) -> None:
    """Move fetched jars where they are used; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for jar in part.glob("*.jar"):
        os.replace(jar, folder / jar.name)
    shutil.rmtree(part)


def remove_others(folder: Path, expected: Checksums) -> None:
    """Remove jars of earlier versions, which would come along on a ``*`` class path."""
    for jar in folder.glob("*.jar"):
        if jar.name not in expected:
            jar.unlink()


def read_lock(text: str) -> dict[str, Checksums]:
    """Parse jars.lock, which has the form that ``sha256sum`` prints: checksum, two blanks, folder/name."""
    locked: dict[str, Checksums] = {folder: {} for folder in _all_folders()}
    for line in text.splitlines():
        checksum, path = line.split()
        folder, name = path.split("/")
        locked[folder][name] = checksum
    return locked


def write_lock(home: Path) -> None:
    """Fetch all jars, record what came, and put it in place."""
    found: dict[str, Checksums] = {}
    for folder, part in fetch(home, _all_folders()).items():
        found[folder] = {jar.name: sha256(jar) for jar in sorted(part.glob("*.jar"))}
        move_into_place(part, home / folder)
        remove_others(home / folder, found[folder])
    lines = [f"{checksum}  {folder}/{name}\n" for folder, jars in found.items() for name, checksum in jars.items()]
    LOCK.write_text("".join(lines))
    print(f"Wrote {LOCK.name} with {len(lines)} jars.")


def _all_folders() -> list[str]:
    return [*FOLDERS, *(folder for folders in EXTRAS.values() for folder in folders)]


def sha256(path: Path) -> str:
    """Checksum of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
