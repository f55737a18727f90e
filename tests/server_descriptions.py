"""The descriptions of the stack for servers, read by what reads them there: compose.yaml and the Helm chart."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from feature_repo.settings import ENV_PREFIX, PROJECT_ROOT

COMPOSE = PROJECT_ROOT / "compose.yaml"
CHART = PROJECT_ROOT / "deploy" / "helm" / "shelfwise"
ALL_VALUES = CHART / "ci" / "all-values.yaml"
KUBERNETES = "1.34"
# What .env must say.
KEYS = {
    "SHELFWISE_COLLECTOR__WRITE_KEY": "write-key",
    "SHELFWISE_SERVING__READ_KEYS": '["read-key"]',
    "SHELFWISE_REDIS__PASSWORD": "redispassword",
    "GRAFANA_ADMIN_PASSWORD": "grafana-password",
}
# The containers of this project's image that stay, by the names that `deploy` has for them.
OWN = ("collector", "stream", "serving")
LINTERS = PROJECT_ROOT / "var" / "linters"
needs_linters = pytest.mark.skipif(
    not (LINTERS / ".done").exists(), reason="the linters are not installed: `make linters` does that"
)

Manifest = dict[str, Any]
# ${NAME}, ${NAME:-default} and ${NAME:?what to do without}
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def lint(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of the linters from the project's folder, with no variables of Shelfwise but those given."""
    others = {name: value for name, value in os.environ.items() if not name.startswith((ENV_PREFIX, "GRAFANA_"))}
    return subprocess.run(
        [str(LINTERS / "bin" / program), *arguments],
        cwd=PROJECT_ROOT,
        env={**others, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def compose() -> dict[str, Any]:
    """compose.yaml with its anchors resolved, and its variables filled in from :data:`KEYS` and its own defaults."""
    filled: dict[str, Any] = _filled(yaml.safe_load(COMPOSE.read_text()))
    return filled


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one) for one in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: KEYS.get(found[1], found[2] or ""), value)
    return value


def rendered(*options: str) -> list[Manifest]:
    """What the chart makes of its values and of these options, for a release named `shop`."""
    done = lint("helm", "template", "shop", str(CHART), "--kube-version", KUBERNETES, *options)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The manifest of a kind whose name ends so."""
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"].endswith(name)]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The specification of every pod, by the component that it is of."""
    for one in manifests:
        spec = one.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if one["kind"] == "CronJob" else spec
        if "template" in spec:
            yield one["metadata"]["labels"]["app.kubernetes.io/component"], spec["template"]["spec"]
