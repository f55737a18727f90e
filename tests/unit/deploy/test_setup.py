"""Set-up takes only what is locked, and says what is wrong with a machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import setup_jars
from deploy.java import JavaError, java_command, java_version
from deploy.setup_jars import differences, ensure_jars, read_lock, sha256
from feature_repo.settings import PROJECT_ROOT


def fake_java(folder: Path, version: str) -> Path:
    """A `java` that says it is of some version, in the form and on the stream that the real one uses."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(("said", "major"), [("17.0.15", 17), ("21", 21), ("1.8.0_402", 8), ("25-ea", 25)])
def test_the_major_version_of_java_is_read(tmp_path: Path, said: str, major: int) -> None:
    assert java_version(str(fake_java(tmp_path, said))) == major


def test_java_home_comes_first_and_an_old_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fake_java(tmp_path / "new", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "new"))
    assert java_command() == str(good)

    fake_java(tmp_path / "old", "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(JavaError, match="Java 11; unset JAVA_HOME"):
        java_command()


def test_a_missing_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaError, match="no Java on the PATH"):
        java_command()


def test_every_coordinate_has_a_checksum_and_the_other_way_round() -> None:
    locked = read_lock(setup_jars.LOCK.read_text())
    for folder, checksums in locked.items():
        coordinates = (PROJECT_ROOT / "deploy" / f"{folder}.ivy.xml").read_text()
        names = {f"{name}-{version}.jar" for name, version in re.findall(r'name="([^"]+)" rev="([^"]+)"', coordinates)}
        assert names == set(checksums)


def test_missing_and_altered_jars_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "good.jar").write_bytes(b"good")
    (tmp_path / "bad.jar").write_bytes(b"bad")
    good = sha256(tmp_path / "good.jar")

    found = differences(tmp_path, {"good.jar": good, "bad.jar": good, "gone.jar": good})

    assert len(found) == 2
    assert found[0].startswith("bad.jar has SHA-256")
    assert found[1] == "gone.jar is missing"


def test_nothing_is_fetched_when_all_is_there_and_leftovers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kafka"
    folder.mkdir()
    (folder / "kafka-2.jar").write_bytes(b"new")
    (folder / "kafka-1.jar").write_bytes(b"old")
    monkeypatch.setenv("PATH", "")  # no Java, so a download could not even start
    monkeypatch.delenv("JAVA_HOME", raising=False)

    ensure_jars(tmp_path, {"kafka": {"kafka-2.jar": sha256(folder / "kafka-2.jar")}})

    assert [jar.name for jar in folder.iterdir()] == ["kafka-2.jar"]
