"""A pid file never leads to a process that is not the service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.records import Record, Records

COMMAND = [sys.executable, "-c", "input()"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "run")


def test_a_live_process_is_found(child: subprocess.Popen[bytes], records: Records) -> None:
    records.save(Record.of("redis", psutil.Process(child.pid), COMMAND, "127.0.0.1:1"))

    found = records.running("redis")

    assert found is not None
    assert found.pid == child.pid


def test_an_ended_process_is_not_running_even_before_it_is_collected(
    child: subprocess.Popen[bytes], records: Records
) -> None:
    records.save(Record.of("redis", psutil.Process(child.pid), COMMAND, "127.0.0.1:1"))
    child.kill()
    psutil.Process(child.pid).status()  # still there, as a zombie
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass

    assert records.running("redis") is None


def test_a_process_that_got_a_recycled_id_is_not_taken_for_the_service(
    child: subprocess.Popen[bytes], records: Records
) -> None:
    record = Record.of("redis", psutil.Process(child.pid), COMMAND, "127.0.0.1:1")
    records.save(replace(record, created=record.created - 3600))

    assert records.running("redis") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_record_counts_as_none(records: Records, tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "redis.json").write_text(content)

    assert records.load("redis") is None


def test_a_removed_record_is_gone_and_removing_twice_is_fine(child: subprocess.Popen[bytes], records: Records) -> None:
    records.save(Record.of("redis", psutil.Process(child.pid), COMMAND, "127.0.0.1:1"))

    records.remove("redis")
    records.remove("redis")

    assert records.load("redis") is None
