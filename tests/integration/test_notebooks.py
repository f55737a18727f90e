"""The notebooks for analysts, run from top to bottom on a small invented shop, or on the events that NOTEBOOKS_DATA names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_stack import OwnStack

from feature_repo.settings import PROJECT_ROOT
from notebooks.running import NotebookError, as_html, chosen, execute

# Learning as in production would take most of the time, and says nothing more of the notebooks.
LIGHT = {
    "SHELFWISE_TRAINING__ITEM_SPACES": "1",
    "SHELFWISE_TRAINING__ALS_ITERATIONS": "3",
    "SHELFWISE_TRAINING__MAX_TURNS": "500",
    "SHELFWISE_TRAINING__TEST_TURNS": "100",
    **{f"SHELFWISE_TRAINING__{purpose}_RANKER__TREES": "10" for purpose in ("TURN", "ORDER", "LIST")},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """Settings of a stack of which nothing runs; the data are loaded once for all notebooks."""
    stack = OwnStack.at(tmp_path_factory.mktemp("notebooks"))
    stack = OwnStack({**stack.variables, **LIGHT})
    if data := os.environ.get("NOTEBOOKS_DATA"):
        stack = OwnStack({**stack.variables, "SHELFWISE_NOTEBOOKS__DATA": str(Path(data).resolve())})
    loaded = run(stack, "load")
    assert loaded.returncode == 0, loaded.stdout
    with stack.exported():
        yield stack


def run(stack: OwnStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "notebooks", *arguments],
        cwd=PROJECT_ROOT,
        env=stack.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("path", chosen([]), ids=lambda path: path.stem)
def test_runs_from_top_to_bottom_and_shows_plots(stack: OwnStack, path: Path) -> None:
    notebook = execute(path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    said = [output.get("text") or output.get("data", {}).get("text/markdown", "") for output in outputs]
    assert not re.search(r"Warning|\bnan\b|\bNone\b", "".join(said))
    # Nothing of the page comes from elsewhere.
    assert not re.search(
        r"""(src|href)=["']?https?://[^"']*\.(js|css)|import .*https?://""", as_html(notebook, path.stem)
    )


def test_the_second_loading_does_nothing(stack: OwnStack) -> None:
    again = run(stack, "load")
    assert again.returncode == 0, again.stdout
    assert "Spark" not in again.stdout


def test_pages_are_made_and_a_failing_cell_is_named(stack: OwnStack, tmp_path: Path) -> None:
    source = next(path for path in chosen(["01"])).read_text()
    broken = tmp_path / "09_broken.ipynb"
    broken.write_text(source.replace("shop = open_shop()", "shop = open_the_shop()"))
    with pytest.raises(NotebookError, match=r"09_broken.ipynb: code cell 1 of \d+ .*NameError"):
        execute(broken)
    made = run(stack, "render", "01", "--out", str(tmp_path))
    assert made.returncode == 0, made.stdout
    assert "[1/1] 01_explore_the_feature_store" in made.stdout
    assert "data:image/png;base64" in (tmp_path / "01_explore_the_feature_store.html").read_text()
