"""Finds the Java that the broker and Spark run on. Standard library only: set-up uses it before packages exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

OLDEST_JAVA = 17
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


class JavaError(RuntimeError):
    """No usable Java; the message says what was found and what to do."""


def java_command() -> str:
    """Path of the ``java`` to run: JAVA_HOME's, else the one on the PATH.

    Raises:
        JavaError: there is none, or it is older than :data:`OLDEST_JAVA`.
    """
    home = os.environ.get("JAVA_HOME")
    command = os.path.join(home, "bin", "java") if home else shutil.which("java")
    if command is None or not os.access(command, os.X_OK):
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise JavaError(f"there is no Java {where}; Java {OLDEST_JAVA} or newer is needed")
    version = java_version(command)
    if version < OLDEST_JAVA:
        hint = "unset JAVA_HOME or point it to" if home else "install"
        raise JavaError(f"{command} is Java {version}; {hint} Java {OLDEST_JAVA} or newer")
    return command


def java_version(command: str) -> int:
    """Major version of a ``java`` executable, 0 if it does not say."""
    said = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    found = _VERSION.search(said.stderr + said.stdout)
    return int(found.group(1)) if found else 0
