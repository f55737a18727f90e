"""``make airflow``: Airflow in the foreground."""

from __future__ import annotations

import json
import time

from deploy.airflow import USER, airflow_home, airflow_listener, airflow_services
from deploy.errors import StackError
from deploy.interrupts import ignored
from deploy.lock import exclusive
from deploy.stack import Stack

_POLL_SECONDS = 2.0


def stay(stack: Stack) -> int:
    """Start Airflow, say where it is, and stay until Ctrl-C.

    Raises:
        StackError: it runs already, cannot be started, or one of its processes ended.
    """
    services = stack.choose(airflow_services(stack.settings))
    url = airflow_listener(stack.settings).url
    if any(stack.supervisor.running(service.name) for service in services):
        raise StackError(f"Airflow of this installation runs already, at {url}; `make down` stops it, with all else")
    with stack.all_or_nothing() as started, exclusive(stack.home / "run" / "stack.lock"):
        stack.up(services, started)
    try:
        _tell(stack, url)
        while not (ended := [one.name for one in services if not stack.supervisor.running(one.name)]):
            time.sleep(_POLL_SECONDS)
        raise StackError(
            f"{', '.join(ended)} ended, or was stopped by `make down`; see {stack.supervisor.log(ended[0])}"
        )
    except KeyboardInterrupt:
        stack.console.print("Stopping Airflow ...")
    finally:
        with ignored():
            stack.stop(services)
    return 0


def _tell(stack: Stack, url: str) -> None:
    passwords = airflow_home(stack.settings) / "simple_auth_manager_passwords.json.generated"
    password = json.loads(passwords.read_text())[USER]
    stack.console.print(
        f"\nAirflow is at {url}: user {USER}, password {password} (kept in {passwords}).\n"
        "The schedule runs as long as this does; Ctrl-C ends it. Steps cut off by that are run again after the next start.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
