"""``python -m notebooks COMMAND``: run the notebooks for analysts, and keep what they show as HTML pages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from feature_repo.commands import exit_code_of, leave
from feature_repo.settings import get_settings

_EPILOG = """\
They read this installation's data; where it holds no events, a small shop is invented and loaded for them (a minute, once).
SHELFWISE_NOTEBOOKS__DATA names a file or folder of contract events to read instead, as `python -m ingestion backfill` takes it.

examples:
  python -m notebooks render                      # all of them, to var/notebooks/*.html
  python -m notebooks render 02 05 --out pages/
  SHELFWISE_NOTEBOOKS__DATA=history/ python -m notebooks render
"""


def build_parser() -> argparse.ArgumentParser:
    """The commands and their help."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks",
        description=__doc__.splitlines()[0],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("load", help="load the data that notebooks read, if it is not there")
    render = commands.add_parser("render", help="run notebooks, and write each with its outputs as an HTML page")
    render.add_argument("names", nargs="*", metavar="NAME", help="beginning of a name, such as 03; by default all")
    render.add_argument("--out", type=Path, metavar="DIR", help="where to; by default notebooks/ in SHELFWISE_HOME")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure prints what is wrong and what to do, and exits with 1."""
    args = build_parser().parse_args(arguments)
    return exit_code_of(lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    if args.command == "load":
        from notebooks.loading import prepare

        prepare()
        return 0
    return _render(args.names, args.out or get_settings().home / "notebooks")


def _render(names: list[str], out: Path) -> int:
    """All that can be run; one that fails does not keep the others back."""
    from notebooks.loading import prepare
    from notebooks.running import NotebookError, as_html, chosen, execute
    from training.evaluation import installation
    from training.steps import Steps

    paths, steps, failed = chosen(names), Steps(), 0
    out = out.resolve()
    # Kernels work in the notebooks' folder: a home that was given relative to this one would be another there.
    installation.enter(get_settings().home.resolve())
    out.mkdir(parents=True, exist_ok=True)
    prepare()
    for number, path in enumerate(paths, start=1):
        page = out / f"{path.stem}.html"
        try:
            with steps(f"[{number}/{len(paths)}] {path.stem}"):
                page.write_text(as_html(execute(path), path.stem))
        except NotebookError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    print(f"{len(paths) - failed} of {len(paths)} pages in {out}")
    return 1 if failed else 0


if __name__ == "__main__":
    leave(main())
