"""The design's rule of who may import whom, read from the source."""

from __future__ import annotations

import ast

import pytest
from feast.repo_operations import get_repo_files

from feature_repo.settings import PROJECT_ROOT

MAY_IMPORT = {
    "feature_repo": set(),
    "ingestion": {"feature_repo"},
    "training": {"feature_repo"},
    "serving": {"feature_repo", "training"},  # the model classes that a stored artefact needs
    "deploy": {"feature_repo"},
    "automation": {"feature_repo", "ingestion", "training"},  # see below
    "notebooks": {"feature_repo", "training"},
}


def imported_by(package: str) -> set[str]:
    """Which of the project's packages a package imports, also inside functions."""
    found = set()
    for path in (PROJECT_ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found & MAY_IMPORT.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_the_design_allows(package: str) -> None:
    assert imported_by(package) - {package} <= MAY_IMPORT[package]


def test_serving_takes_nothing_of_training_but_what_a_model_answers_with() -> None:
    modules = {
        node.module
        for path in (PROJECT_ROOT / "serving").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("training")
    }
    shared = ("model", "recommending", "scenarios", "candidates.segments", "candidates.sources")
    assert modules <= {f"training.{name}" for name in shared}


def test_the_schedule_takes_nothing_of_the_others_but_exit_codes() -> None:
    names = {
        f"{node.module}.{alias.name}"
        for path in (PROJECT_ROOT / "automation").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("ingestion", "training"))
        for alias in node.names
    }
    assert names == {"ingestion.commands.pull.NEEDS_A_LOOK", "training.promotion.exit_codes.ExitCode"}


def test_feast_looks_for_definitions_where_they_are_only() -> None:
    # It runs every file that .feastignore does not name.
    repo = PROJECT_ROOT / "feature_repo"
    assert get_repo_files(repo) == [repo / "features.py"]
