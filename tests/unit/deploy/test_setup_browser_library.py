"""Segment's library for browsers is what the lock says, or it is not installed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from deploy.setup_browser_library import LOCK, LibraryError, unpack
from feature_repo.settings import PROJECT_ROOT


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "library.tgz"
    with tarfile.open(path, "w:gz") as files:
        for name in ("package/dist/umd/index.js", "package/dist/umd/index.js.map", "package/package.json"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            files.addfile(member, io.BytesIO(name.encode()))
    return path


def test_the_locked_archive_brings_scripts_alone(archive: Path, tmp_path: Path) -> None:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    for _ in range(2):
        unpack(archive, integrity, tmp_path / "home" / "library")
    assert [path.name for path in (tmp_path / "home" / "library").iterdir()] == ["index.js"]


def test_another_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="nothing was installed"):
        unpack(archive, "sha512-other", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_the_tests_of_trackers_use_the_same_version() -> None:
    name, version, integrity = LOCK.read_text().split()
    packages = json.loads((PROJECT_ROOT / "tests/integration/trackers/package-lock.json").read_text())["packages"]
    locked = packages[f"node_modules/{name}"]
    assert (locked["version"], locked["integrity"]) == (version, integrity)
