"""``python -m deploy COMMAND``: the one-machine stack of Kafka, Redis, collector, stream and service.

Servers listen on loopback; ports, folders and addresses are settings (`python -m feature_repo.settings` lists them).
Logs, pid files and all data lie under the stack's home, by default ``var/``.
"""

from __future__ import annotations

import argparse
import os
import sys

from rich.console import Console

from deploy import airflow, status
from deploy.airflow_stay import stay
from deploy.demo import Demo
from deploy.errors import StackError
from deploy.java import JavaError
from deploy.lock import exclusive
from deploy.services import EXTRAS
from deploy.stack import Stack
from feature_repo.settings import SettingsError, get_settings

# Where output goes to a file or a pipe, tables need not fit a screen.
WIDTH_OF_FILES = 130


def build_parser() -> argparse.ArgumentParser:
    """The commands and their help."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in (
        ("up", "start what does not run yet and wait until it is ready; all or nothing"),
        ("down", "stop services with all their processes"),
        ("logs", "show the end of the logs"),
    ):
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.add_argument("names", nargs="*", metavar="SERVICE", help="only these services (default: all)")
        if name == "up":
            command.add_argument(
                "--with",
                dest="extra",
                choices=sorted(EXTRAS),
                help="also start what is not of every day; cdc: Kafka Connect with Debezium, and what maps its changes",
            )
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="go on as the logs grow")
    commands.add_parser("status", help="show what runs and whether it is ready; exit code 1 unless all is up")
    command = commands.add_parser("airflow", help="run the schedule with Airflow; or one command of Airflow's own")
    command.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND ...",
        help="instead of starting it: a command of Airflow, as `dags test shelfwise_nightly`",
    )
    commands.add_parser("demo", help="simulated shop, training, live traffic, and what a few clicks change")
    return parser


def main() -> int:
    """Run one command; an expected failure prints what is wrong and what to do, and exits with 1."""
    options = build_parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    try:
        return _run(options, Stack(get_settings(), console), console)
    except (StackError, SettingsError, JavaError) as error:
        console.print("[bold red]error:[/]", end=" ")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1


def _run(options: argparse.Namespace, stack: Stack, console: Console) -> int:
    if options.command == "status":
        return 0 if status.show(stack, console) else 1
    if options.command == "logs":
        return _logs(stack, options.names, options.follow)
    if options.command == "airflow":
        return airflow.execute(stack.settings, options.words) if options.words else stay(stack)
    with exclusive(stack.home / "run" / "stack.lock"):
        if options.command == "up":
            with stack.all_or_nothing() as started:
                stack.up(stack.choose(options.names, options.extra), started)
        elif options.command == "down":
            stack.down(options.names)
        else:
            Demo(stack).run()
    return 0


def _logs(stack: Stack, names: list[str], follow: bool) -> int:
    services = stack.choose(names) if names else list(stack.services.values())
    logs = [str(path) for service in services if (path := stack.supervisor.log(service.name)).exists()]
    if not logs:
        raise StackError(f"there are no logs in {stack.home / 'logs'} yet")
    os.execvp("tail", ["tail", "-n", "20", *(["-F"] if follow else []), *logs])
