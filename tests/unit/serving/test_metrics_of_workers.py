"""What is shown of workers that are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serving.metrics import forget_dead_workers


def test_a_dead_worker_says_nothing_any_more_of_how_things_are(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = {f"gauge_livemax_{os.getpid()}.db", f"counter_{gone.pid}.db", f"histogram_{gone.pid}.db"}
    for name in kept | {f"gauge_livemax_{gone.pid}.db", f"gauge_livemin_{gone.pid}.db"}:
        (tmp_path / name).touch()
    forget_dead_workers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
