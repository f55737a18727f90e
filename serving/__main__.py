"""``python -m serving``: ``bentoml serve`` at the address and with the workers that the settings say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from feature_repo.settings import PROJECT_ROOT, get_settings


def main() -> None:
    """Become ``bentoml serve``; further arguments are passed on."""
    settings = get_settings()
    environment = {
        "BENTOML_HOME": str(settings.bentoml_home),
        "BENTOML_DO_NOT_TRACK": "True",
        "FEAST_USAGE": "False",
        "OMP_NUM_THREADS": "1",
    }
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    address = ["--host", settings.serving.host, "--port", str(settings.serving.port)]
    workers = ["--api-workers", str(settings.serving.workers)]
    command = [bentoml, "serve", "serving.service:Recommendations", *address, *workers, *sys.argv[1:]]
    os.chdir(PROJECT_ROOT)
    os.execve(bentoml, command, os.environ | environment)


if __name__ == "__main__":
    main()
