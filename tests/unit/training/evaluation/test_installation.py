"""Whether events are loaded again, without loading any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from training.evaluation import installation
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


def test_a_loading_that_was_cut_off_is_begun_anew(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, commands = tmp_path / "home", []
    (home / "warehouse").mkdir(parents=True)
    (home / "evaluation.json").write_text(json.dumps({"content": fingerprint(data), "complete": False}))

    def cut_off(home: Path, module: str, *arguments: str) -> None:
        commands.append((module, (home / "warehouse").exists()))
        if len(commands) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(installation, "_run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        load(data, home)
    assert load(data, home) == home
    assert commands == [("ingestion", False), ("ingestion", False), ("feast.cli.cli", False)]
    assert load(data, home) == home
    assert len(commands) == 3


def test_data_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nowhere", None)
