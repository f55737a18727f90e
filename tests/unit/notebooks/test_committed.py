"""Notebooks as they are committed: without outputs, so that they hold nobody's data and differ only where they were edited."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from notebooks.running import chosen


@pytest.mark.parametrize("path", chosen([]), ids=lambda path: path.stem)
def test_has_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            assert not cell.outputs, f"cell {number}: clear its outputs"
            assert cell.execution_count is None, f"cell {number}: clear its outputs"
            assert not cell.metadata, f"cell {number}: {dict(cell.metadata)}"
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", chosen([]), ids=lambda path: path.stem)
def test_says_what_it_answers_and_what_is_to_be_seen_in_each_plot(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith(f"# {int(path.name[:2])}. ")
    for cell in notebook.cells:
        if cell.cell_type == "code" and "plt.show()" in cell.source:
            assert "say(" in cell.source.rpartition("plt.show()")[2] or "def " in cell.source, cell.source
            assert "title=" in cell.source
            assert "xlabel=" in cell.source
