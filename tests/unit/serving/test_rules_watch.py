"""A file that is refused is tried again until it can be used, and complained of once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from serving import metrics
from serving.rules.watch import RulesWatch


def test_a_refused_file_is_tried_again_without_being_touched(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, used, missing = tmp_path / "experiments.toml", [], [False]
    file.write_text("one")

    def use(said: str) -> None:
        if missing[0]:
            raise InputError("there is no scenario 'gifts'")
        used.append(said)

    watch = RulesWatch(file, 60.0, use, lambda path: path.read_text(), metrics.experiments_refused)
    watch.start()
    try:
        missing[0] = True
        file.write_text("three")
        with caplog.at_level(logging.ERROR, logger="bentoml.shelfwise"):
            watch.check()
            watch.check()
        assert len([one for one in caplog.records if "gifts" in one.getMessage()]) == 1
        missing[0] = False  # the rules file with the scenario has been read meanwhile
        watch.check()
        assert used == ["one", "three"]
        watch.check()
        assert used == ["one", "three"]
    finally:
        watch.stop()
