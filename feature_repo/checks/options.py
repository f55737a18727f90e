"""How commands that check data are asked for their report, and how they give it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from feature_repo.checks import findings, report
from feature_repo.checks.findings import ExitCode, Finding
from feature_repo.checks.report import Picture
from feature_repo.commands import result_console
from feature_repo.errors import InputError

EXIT_CODES = """\
exit codes:
  0  all is as expected
  1  something is violated
  2  it could not be checked
"""


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Options ``--report`` and ``--json``."""
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write one HTML file with pictures")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")


def require_folder(file: Path | None) -> None:
    """Refuse early what could not be written in the end.

    Raises:
        InputError: there is no such folder, or the file is one.
    """
    if file and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"--report {file} cannot be written: give a file in a folder that exists")


def give(
    args: argparse.Namespace,
    title: str,
    at: datetime,
    found: Sequence[Finding],
    pictures: Sequence[Picture],
    notes: Sequence[str],
) -> ExitCode:
    """Print and write what was found, as asked for."""
    if args.report:
        args.report.write_text(report.page(title, at, found, pictures, notes))
    if args.json:
        print(findings.to_json(at, found), flush=True)
    else:
        console = result_console(200)
        findings.show(console, found)
        for note in notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        if args.report:
            console.print(f"Report: {args.report}", markup=False, highlight=False, soft_wrap=True)
    return findings.exit_code(found)
