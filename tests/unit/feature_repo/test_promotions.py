"""The stack of promotions: what is in force, what can be gone back to, and who may change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_stack import OwnStack

from feature_repo.errors import InputError, UnavailableError
from feature_repo.models import promotions
from feature_repo.models.promotions import go_back_to, in_force, promote


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    with OwnStack.at(tmp_path).exported():
        yield


def versions() -> list[str]:
    return [promotion.version for promotion in promotions.promotions()]


def test_the_last_promotion_is_in_force() -> None:
    assert in_force() is None
    promote("a", "first", None)
    promote("b", "better", "a")
    assert in_force() == "b"
    assert [(one.version, one.why) for one in promotions.promotions()] == [("a", "first"), ("b", "better")]


def test_promoting_what_is_in_force_changes_nothing() -> None:
    promote("a", "first", None)
    promote("a", "again", "a")
    assert versions() == ["a"]


def test_going_back_forgets_what_came_after() -> None:
    for version, before in (("a", None), ("b", "a"), ("c", "b")):
        promote(version, "", before)
    go_back_to("b", "c")
    assert versions() == ["a", "b"]
    go_back_to("a", "b")
    assert versions() == ["a"], "and not forward again to what was left"
    with pytest.raises(InputError, match="promote c"):
        go_back_to("c", "a")
    assert versions() == ["a"]


def test_a_version_promoted_twice_is_gone_back_from() -> None:
    for version, before in (("a", None), ("b", "a"), ("a", "b")):
        promote(version, "", before)
    go_back_to("b", "a")
    assert versions() == ["a", "b"]


@pytest.mark.parametrize("change", [lambda: promote("c", "", "a"), lambda: go_back_to("a", "a")])
def test_a_decision_against_another_version_is_refused(change: object) -> None:
    promote("a", "", None)
    promote("b", "", "a")
    with pytest.raises(UnavailableError, match="b is in force by now, not a"):
        change()  # type: ignore[operator]
    assert versions() == ["a", "b"]


def test_a_draft_left_by_a_killed_process_is_not_read() -> None:
    promote("a", "", None)
    promotions.path().with_suffix(".draft").write_text('[{"version": "b"')
    assert versions() == ["a"]
    promote("c", "", "a")
    assert versions() == ["a", "c"]


def test_a_file_edited_by_hand_says_what_to_do() -> None:
    promote("a", "", None)
    promotions.path().write_text("a\n")
    with pytest.raises(InputError, match=r"cannot be read.*python -m training promote"):
        promotions.promotions()
