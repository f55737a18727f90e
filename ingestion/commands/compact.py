"""``python -m ingestion compact``: merge the small files of the tables now, for when no stream does it."""

from __future__ import annotations

import argparse
import sys

_EPILOG = """\
A running stream merges its tables by itself, every SHELFWISE_STREAM__COMPACT_EVERY_MINUTES. This is for installations whose
stream does not run all the time, and after a backfill. It can run beside everything else and can be repeated: rows stay the
same, readers see a table from before or after, and what others wrote meanwhile wins. Files that were replaced are deleted after
SHELFWISE_STREAM__KEEP_UNUSED_FILES_HOURS; so are lists of the catalogue's products that newer ones have replaced.

Exits with 1 if a table could not be merged, for example because others wrote to the same files: run it again.

example:
  python -m ingestion compact
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG


def run(args: argparse.Namespace) -> int:
    from deltalake.exceptions import DeltaError

    from ingestion.compaction import APPENDED, merge_files

    code = 0
    for table in APPENDED:
        if not table.exists():
            continue
        try:
            merged = merge_files(table)
        except DeltaError as error:
            print(f"error: {table.name} was not merged ({error}); run it again", file=sys.stderr, flush=True)
            code = 1
        else:
            print(f"{table.name}: {merged:,} files merged", flush=True)
    return code
