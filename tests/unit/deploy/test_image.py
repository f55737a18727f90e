"""deploy/Dockerfile: accepted by its linter, and what it says agrees with the project."""

from __future__ import annotations

import re
import tomllib

from server_descriptions import CHART, lint, needs_linters

from feature_repo.settings import PROJECT_ROOT

DOCKERFILE = (PROJECT_ROOT / "deploy" / "Dockerfile").read_text()
IGNORED = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()


@needs_linters
def test_hadolint_finds_nothing() -> None:
    done = lint("hadolint", "--failure-threshold", "style", "deploy/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_it_is_set_up_as_any_machine_is() -> None:
    assert "sh deploy/setup.sh" in DOCKERFILE
    assert "pip install" not in DOCKERFILE
    exported = dict(re.findall(r"^export (\w+) := (\w+)$", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    assert exported
    variables = dict(re.findall(r"^(?:ENV)? +(\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    assert exported.items() <= variables.items()
    assert variables["SHELFWISE_HOME"] == "/data"


def test_it_has_the_python_of_the_project_at_a_version() -> None:
    wanted = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)\.\d+-slim-bookworm AS system$", DOCKERFILE, re.MULTILINE)
    assert wanted.startswith(f">={version},")


def test_every_package_gets_in_and_nothing_secret_or_stored() -> None:
    packages = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert IGNORED[1] == "*"  # all that is not named stays outside: .env, var, .git
    let_in = {line[1:] for line in IGNORED if line.startswith("!")}
    assert {pattern.removesuffix("*") for pattern in packages["include"]} <= let_in
    assert {"requirements.lock", "pyproject.toml", "README.md"} <= let_in
    assert let_in.isdisjoint({".env", "var", "tests", ".git"})


def test_it_runs_as_the_user_that_kubernetes_is_told_of() -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert f"useradd --uid {user} " in DOCKERFILE
    assert int(user) > 0
    helpers = (CHART / "templates" / "_helpers.tpl").read_text()
    assert f"runAsUser: {user}\n" in helpers
    assert f"fsGroup: {user}\n" in helpers


def test_the_chart_and_the_image_have_the_projects_version() -> None:
    version = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nappVersion: {version}\n" in (CHART / "Chart.yaml").read_text()
    assert f"shelfwise:{version}}}" in (PROJECT_ROOT / "compose.yaml").read_text()
