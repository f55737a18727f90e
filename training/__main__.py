"""``python -m training COMMAND``: learn a recommender from the offline store.

Each command is a module of :mod:`training.commands` with ``add_arguments(parser)`` and ``run(args) -> exit code``;
heavy imports happen inside ``run``, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from feature_repo.commands import exit_code_of, leave

COMMANDS = {
    "run": "train a recommender, evaluate it, store it and promote it",
    "retrain": "train a challenger, compare it with the promoted model, and promote it if it is as good",
    "models": "list the stored versions, and which one is promoted",
    "promote": "put a stored version into service, without comparing",
    "rollback": "go back to the version that was promoted before",
    "watch": "compare the running service's metrics with those before the promotion, and roll back if they fell",
    "experiment": "what variants of an experiment are worth, to those who saw them and before anybody does",
    "drift": "compare what serving sees with what the promoted model was trained on",
    "tune": "search for better trees for the rankers",
    "evaluate": "judge recommenders and baselines by what happened after a moment",
}


def build_parser(names: list[str]) -> argparse.ArgumentParser:
    """The parser with full arguments for the commands in ``names`` and one-line help for all."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in names:
            importlib.import_module(f"training.commands.{name}").add_arguments(subparser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure prints one line that says what to do and exits with 1."""
    words = sys.argv[1:] if arguments is None else arguments
    args = build_parser([word for word in words if word in COMMANDS][:1]).parse_args(words)
    return exit_code_of(lambda: int(importlib.import_module(f"training.commands.{args.command}").run(args)))


if __name__ == "__main__":
    leave(main())
