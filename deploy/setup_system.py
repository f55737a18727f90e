"""Set-up step: what must come from the system's package manager. Standard library only (runs before packages exist)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from deploy.java import OLDEST_JAVA, JavaError, java_command

APT_INSTALL = Path(__file__).with_name("apt_install.sh")
# In order of preference; which of them exists depends on the distribution's release.
JAVA_PACKAGES = ("openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless")
NOT_ALLOWED = 2
OPENMP_LIBRARY = "libgomp.so.1"


def main() -> None:
    """Make sure of Java and of the OpenMP library that implicit and scikit-learn load."""
    try:
        ensure_java()
        ensure_openmp()
    except (JavaError, OSError) as error:
        sys.exit(f"Set-up cannot go on: {error}.")


def ensure_java() -> None:
    """Install a Java runtime unless a fitting one is there.

    Raises:
        JavaError: still none that fits.
    """
    try:
        java_command()
        return
    except JavaError as error:
        if os.environ.get("JAVA_HOME"):
            raise  # an installed one would not be used
        print(f"    {error}: installing it", flush=True)
    for package in JAVA_PACKAGES:
        code = apt_install(package)
        if code == 0:
            print(f"    installed {java_command()}", flush=True)
            return
        if code == NOT_ALLOWED:
            break
    raise JavaError(f"Java {OLDEST_JAVA} or newer is needed and could not be installed; install it and try again")


def ensure_openmp() -> None:
    """Install libgomp unless it can be loaded.

    Raises:
        OSError: it still cannot be loaded.
    """
    try:
        ctypes.CDLL(OPENMP_LIBRARY)
    except OSError:
        print(f"    {OPENMP_LIBRARY} is missing: installing libgomp1", flush=True)
        apt_install("libgomp1")
        ctypes.CDLL(OPENMP_LIBRARY)


def apt_install(package: str) -> int:
    """Try to install a package; the script prints why it could not.

    Returns:
        0: installed; :data:`NOT_ALLOWED`: nothing can be installed here; else: apt does not have it.
    """
    return subprocess.run(["sh", str(APT_INSTALL), package], check=False).returncode


if __name__ == "__main__":
    main()
