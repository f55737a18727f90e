"""Running notebooks from top to bottom, and pages of the result that need nothing else to be looked at."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from feature_repo.errors import InputError, ShelfwiseError

FOLDER = Path(__file__).resolve().parent
# As JupyterLab shows it, without the scripts that it would load for formulas and diagrams.
_PAGE = """{% extends "lab/index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}"""


class NotebookError(ShelfwiseError):
    """A cell of a notebook failed."""


def chosen(names: list[str]) -> list[Path]:
    """Notebooks by the beginning of their names, or all.

    Raises:
        InputError: there is no such notebook.
    """
    there = sorted(FOLDER.glob("[0-9]*.ipynb"))
    for name in names:
        if not any(path.name.startswith(name) for path in there):
            raise InputError(f"there is no notebook {name}; there are {', '.join(path.stem for path in there)}")
    return [path for path in there if not names or path.name.startswith(tuple(names))]


def execute(path: Path) -> NotebookNode:
    """The notebook with the outputs of all its cells.

    Raises:
        NotebookError: says which cell failed, and how.
    """
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    try:
        NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place).execute()
    except CellExecutionError as error:
        raise NotebookError(f"{_where(path, notebook)} failed: {error.ename}: {error.evalue}") from error
    except DeadKernelError as error:
        raise NotebookError(f"{_where(path, notebook)} ended its Python process (out of memory?)") from error
    return notebook


def _where(path: Path, notebook: NotebookNode) -> str:
    """Name and number of the cell at which it ended: the first one that failed, or was not finished."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        failed = any(output.output_type == "error" for output in cell.outputs)
        if failed or cell.execution_count is None:
            first_line = cell.source.partition("\n")[0]
            return f"{path.name}: code cell {number} of {len(code)} (`{first_line}`)"
    return path.name


def as_html(notebook: NotebookNode, title: str) -> str:
    """A page with its pictures and style inside, which loads nothing from anywhere."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(raw_template=_PAGE).from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return str(page)
