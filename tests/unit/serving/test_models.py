"""Which stored model is answered with: the newest promotion that can be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_stack import OwnStack

from feature_repo.models.promotions import go_back_to, promote
from serving.data.models import ModelWatch


class Loading(ModelWatch):
    """Notes what it is to load instead of loading it; some versions are broken."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__("shelfwise:promoted", 1.0, lambda model, version: None, lambda: self.now)
        self.broken: set[str] = set()
        self.tried: list[str] = []

    def _load(self, version: str) -> bool:
        self.tried.append(version)
        if version in self.broken:
            return False
        self._in_use = version
        return True


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    with OwnStack.at(tmp_path).exported():
        yield Loading()


def test_a_broken_version_is_tried_once_and_again_when_it_is_promoted_again(watch: Loading) -> None:
    promote("v1", "", None)
    watch.check()
    watch.broken = {"v2"}
    promote("v2", "", "v1")
    watch.check()
    watch.check()
    assert watch.tried == ["v1", "v2"]
    watch.broken = set()
    go_back_to("v1", "v2")
    promote("v2", "", "v1")
    watch.check()
    assert watch.tried == ["v1", "v2", "v2"]
    watch.check()
    assert watch.tried == ["v1", "v2", "v2"]


def test_a_broken_version_is_tried_again_after_a_minute(watch: Loading) -> None:
    watch.broken = {"v1"}
    promote("v1", "", None)
    watch.check()
    watch.now = 59.0
    watch.check()
    assert watch.tried == ["v1"]
    assert watch.problem
    watch.broken, watch.now = set(), 61.0
    watch.check()
    assert watch.tried == ["v1", "v1"]
    assert watch.problem is None
