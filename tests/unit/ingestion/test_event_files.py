"""Finding event files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from feature_repo.errors import InputError
from ingestion.recorded.files import day_of, discover


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_partitions_come_in_order_of_days(tmp_path: Path) -> None:
    later, earlier = tmp_path / "dt=2026-01-10" / "a.parquet", tmp_path / "dt=2026-01-09" / "b.parquet"
    touch(later, earlier, tmp_path / "_SUCCESS", tmp_path / ".hidden.parquet", tmp_path / "_log" / "x.parquet")
    found = discover(tmp_path)
    assert (found.format, found.files) == ("parquet", (earlier, later))
    assert day_of(later) == date(2026, 1, 10)


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz", "events.ndjson"])
def test_a_single_file(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    found = discover(tmp_path / name)
    assert (found.format, found.files) == ("jsonl", (tmp_path / name,))
    assert day_of(tmp_path / name) is None


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "all" / "dt=2026-01-09" / "a.parquet")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "dt=2026-01-09").symlink_to(tmp_path / "all" / "dt=2026-01-09")
    assert len(discover(tmp_path / "some").files) == 1


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        discover(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no event files"):
        discover(tmp_path)
    touch(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"none of \*\.parquet"):
        discover(tmp_path / "a.csv")
    touch(tmp_path / "a.jsonl", tmp_path / "b.parquet")
    with pytest.raises(InputError, match="mixes"):
        discover(tmp_path)
    touch(tmp_path / "c" / "dt=today" / "a.jsonl")
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        discover(tmp_path / "c")
