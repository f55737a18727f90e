"""Downloads jars with Apache Ivy's command line, which PySpark ships; the coordinates are in ``deploy/*.ivy.xml``."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pyspark
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.java import java_command

HERE = Path(__file__).resolve().parent


class JarError(RuntimeError):
    """The jars cannot be had as locked; the message says which and what to do."""


class Download:
    """One run of Ivy, into ``.NAME.part`` beside the folder that the jars are for."""

    def __init__(self, home: Path, folder: str) -> None:
        self.folder = folder
        self.part = home / f".{folder}.part"
        self._cache = self.part / "cache"
        self._log = self.part / "ivy.log"
        self._coordinates = HERE / f"{folder}.ivy.xml"
        self.expected = self._coordinates.read_text().count("<dependency ")
        shutil.rmtree(self.part, ignore_errors=True)
        self._cache.mkdir(parents=True)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _command(self) -> list[str]:
        ivy = next(Path(pyspark.__file__).parent.glob("jars/ivy-2*.jar"))
        command = [java_command(), "-jar", str(ivy), "-cache", str(self._cache)]
        # Some projects publish their jar as an OSGi bundle, which Ivy takes for another type.
        command += ["-ivy", str(self._coordinates), "-types", "jar", "bundle"]
        return [*command, "-retrieve", f"{self.part}/[artifact]-[revision](-[classifier]).[ext]"]

    def running(self) -> bool:
        return self._process.poll() is None

    def count(self) -> int:
        """Jars that have arrived so far."""
        return sum(1 for _ in self.part.rglob("*.jar")) if self.running() else len(list(self.part.glob("*.jar")))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def result(self) -> Path:
        """The folder with the jars and nothing else.

        Raises:
            JarError: the download failed.
        """
        if self._process.returncode != 0:
            raise JarError(f"fetching the {self.folder} jars failed:\n{self._log.read_text()[-2000:]}")
        shutil.rmtree(self._cache, ignore_errors=True)
        self._log.unlink()
        return self.part


def fetch(home: Path, folders: Sequence[str]) -> dict[str, Path]:
    """Download several folders side by side, with a progress bar each.

    Returns:
        Where the jars of each folder lie, not yet checked.

    Raises:
        JarError: a download failed.
    """
    if not folders:
        return {}
    columns = TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    downloads: dict[str, Download] = {}
    try:
        with Progress(*columns) as progress:
            downloads = {folder: Download(home, folder) for folder in folders}
            _follow(progress, list(downloads.values()))
    finally:
        for download in downloads.values():
            download.stop()
    return {folder: download.result() for folder, download in downloads.items()}


def _follow(progress: Progress, downloads: Sequence[Download]) -> None:
    bars = [progress.add_task(f"{download.folder} jars", total=download.expected) for download in downloads]
    running = True
    while running:
        running = any(download.running() for download in downloads)
        for bar, download in zip(bars, downloads, strict=True):
            progress.update(bar, completed=download.count())
        time.sleep(0.2)
