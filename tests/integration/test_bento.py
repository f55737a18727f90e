"""The bento holds all of the project's code that the service needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from feature_repo.settings import HOME_VARIABLE, PROJECT_ROOT

# The checkout, which the environment knows by a finder of its own, must not lend what the bento lacks.
IMPORT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path.insert(0, sys.argv[1])
import serving.service, serving.web.api, serving.runtime, training.promotion.artefact, training.recommending
print(*(sys.modules[name].__file__ for name in ("serving", "training", "feature_repo")), sep="\\n")
"""


def test_a_bento_serves_without_the_checkout(tmp_path: Path) -> None:
    variables = {"BENTOML_HOME": str(tmp_path / "store"), "BENTOML_DO_NOT_TRACK": "True", HOME_VARIABLE: str(tmp_path)}
    environment = {**os.environ, **variables}

    def bentoml(*arguments: str, **other: str) -> str:
        command, environ = [str(Path(sys.executable).with_name("bentoml")), *arguments], {**environment, **other}
        done = subprocess.run(command, cwd=PROJECT_ROOT, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    name, version = bentoml("build", "--output", "tag").strip().removeprefix("__tag__:").split(":")
    source = tmp_path / "store" / "bentos" / name / version / "src"
    assert sorted(part.name for part in source.iterdir()) == [
        *("bentofile.yaml", "feature_repo", "requirements.lock", "serving", "training")
    ]
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT, str(source)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert imported.returncode == 0, imported.stderr
    assert all(Path(line).is_relative_to(source) for line in imported.stdout.split())

    # As docs/serving.md takes it to another machine.
    packed, there = str(tmp_path / "shelfwise.bento"), str(tmp_path / "another store")
    bentoml("export", "shelfwise:latest", packed)
    bentoml("import", packed, BENTOML_HOME=there)
    assert version in bentoml("list", BENTOML_HOME=there)
