"""``python -m deploy.ready SERVICE``: is the service of this container ready? What its health check runs.

The probes are those of `make status`. On one machine, the record of a started process says when it was; in a container, the
first process does. Exit code 0: ready, or it answers with fallbacks for want of something (``degraded``); 1: neither.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import psutil

from deploy.probes import Readiness
from deploy.records import Record
from deploy.services import all_services
from feature_repo.settings import SettingsError, get_settings

# The services that have a container of this project's image.
NAMES = ("collector", "stream", "serving")
_FIRST_PROCESS = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the service once, and print what it is."""
    parser = argparse.ArgumentParser(prog="python -m deploy.ready", description=__doc__.splitlines()[0])
    parser.add_argument("service", choices=NAMES, metavar="SERVICE", help=", ".join(NAMES))
    name = parser.parse_args(arguments).service
    try:
        service = all_services(get_settings())[name]
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    readiness = service.probe(Record.of(name, psutil.Process(_FIRST_PROCESS), [], service.address))
    print(f"{name}: {readiness}")
    return 1 if readiness is Readiness.NOT_READY else 0


if __name__ == "__main__":
    sys.exit(main())
