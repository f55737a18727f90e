"""``python -m serving``: run the recommendation service by the settings of this installation.

This is ``bentoml serve serving.service:Recommendations``, started from the project's folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from feature_repo.errors import ShelfwiseError
from feature_repo.experiments import read_experiments
from feature_repo.settings import PROJECT_ROOT, get_settings
from serving.rules.declared import read_rules

_EPILOG = """\
settings: SHELFWISE_SERVING__HOST, SHELFWISE_SERVING__PORT, SHELFWISE_SERVING__WORKERS and others
(`python -m feature_repo.settings` lists them all).

The promoted model is served; when another one is promoted, it is picked up while running. Without any, popular products
are served. The store lies in var/bentoml (BENTOML_HOME, if set, has the last word);

  python -m training models

shows what there is. A shop's own scenarios and rules are read from SHELFWISE_SERVING__RULES_FILE, and experiments
from SHELFWISE_SERVING__EXPERIMENTS_FILE, again whenever they change.
"""


def build_parser() -> argparse.ArgumentParser:
    """The help; there are no options, as everything is a setting."""
    return argparse.ArgumentParser(
        prog="python -m serving",
        description=__doc__.splitlines()[0],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main() -> int:
    """Replace this process by BentoML's server."""
    build_parser().parse_args()
    try:
        settings = get_settings()
        if settings.serving.rules_file:
            read_rules(Path(settings.serving.rules_file))  # so that a fault is told here, in one line
        if settings.serving.experiments_file:
            read_experiments(Path(settings.serving.experiments_file))
    except ShelfwiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    os.environ["BENTOML_HOME"] = str(settings.bentoml_home)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Recommendations"]
    command += ["--working-dir", str(PROJECT_ROOT)]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main())
