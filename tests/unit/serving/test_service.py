"""What importing the service sets in BentoML, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from feature_repo.settings import PROJECT_ROOT

_WITHOUT_SPANS = """
import serving.service
from bentoml._internal.configuration.containers import BentoMLContainer
print(BentoMLContainer.tracing_excluded_urls.get().url_disabled("http://127.0.0.1:3000/recommend"))
"""


@pytest.mark.parametrize(("options", "without"), [("", "True"), ("tracing.exporter_type=in_memory", "False")])
def test_spans_are_made_only_where_they_go_somewhere(options: str, without: str) -> None:
    environment = {**os.environ, "BENTOML_CONFIG_OPTIONS": options}
    command = [sys.executable, "-c", _WITHOUT_SPANS]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == without, done.stderr


def test_what_only_a_worker_needs_is_not_imported_before_one_starts() -> None:
    script = "import sys, serving.service; print(sorted({'feast', 'sklearn', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
