"""Whether events are loaded again, without loading any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from training.evaluation.installation import fingerprint, load


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "history" / "dt=2026-01-01"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("{}\n")
    return tmp_path / "history"


def test_the_fingerprint_changes_with_the_files(data: Path) -> None:
    before = fingerprint(data)
    assert fingerprint(data) == before
    (data / "dt=2026-01-01" / "events.jsonl").write_text("{}\n{}\n")
    assert fingerprint(data) != before


def test_what_was_loaded_is_used_again(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "evaluation.json").write_text(json.dumps({"content": fingerprint(data)}))
    assert load(data, home) == home


def test_a_home_with_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "evaluation.json").write_text(json.dumps({"content": "other"}))
    with pytest.raises(InputError, match="other events or features"):
        load(data, home)
    (home / "evaluation.json").rename(home / "letters.txt")
    with pytest.raises(InputError, match="nothing of the evaluation"):
        load(data, home)


def test_data_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere", None)
