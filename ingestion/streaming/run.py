"""The stream at work, from what the offline store holds until something ends it."""

from __future__ import annotations

import logging
import shutil
import time
import uuid

import pyarrow as pa
from kafka.errors import KafkaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.compaction import Compactor
from ingestion.locks import pause_wanted
from ingestion.offsets import Offsets, in_kafka
from ingestion.online import OnlineStore
from ingestion.outcomes.keeping import OutcomeKeeper
from ingestion.privacy.erasing import PendingErasures
from ingestion.session import work_folder
from ingestion.stopping import StopRequest
from ingestion.streaming.intake import Intake
from ingestion.streaming.live import Live
from ingestion.streaming.source import read_between

log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.2
_REPORT_SECONDS = 30.0
# Features that need not be fresher than this are refreshed in micro-batches.
_LIVE_BELOW_SECONDS = 1.0
# With more events waiting, large batches are the faster way.
_FAR_BEHIND = 50_000


class Run:
    """The stream, from what the offline store holds until something fails, a batch job wants the tables or one is to erase."""

    def __init__(
        self, spark: SparkSession, online: OnlineStore, stop: StopRequest, erasures: PendingErasures, once: bool
    ) -> None:
        self._spark = spark
        self._erasures = erasures
        self._stop = stop
        self._once = once
        self._online = online
        self._ready = get_settings().home / "run" / "stream.ready"
        self._ready.unlink(missing_ok=True)  # a stream that was killed could not remove it
        self._checkpoints = work_folder() / "checkpoints"
        shutil.rmtree(self._checkpoints, ignore_errors=True)
        self._reported, self._events = time.monotonic(), 0
        self._outcomes = OutcomeKeeper()

    def until_interrupted(self) -> str:
        """Run; with ``once``, until what Kafka holds now has been processed. Returns what failed, in a line."""
        settings = get_settings().stream
        compactor, intake = Compactor(), None
        try:
            intake = Intake(self._online, lambda: bool(self._stop), settings.offline_seconds, settings.archive_seconds)
            self._go_on(intake, compactor)
            intake.close()
            self._outcomes.close()
        except (PySparkException, KafkaError, UnavailableError) as error:
            return _summary(error)
        finally:
            self._ready.unlink(missing_ok=True)
            if intake is not None:
                intake.abandon()
            compactor.finish()
            self._outcomes.finish()
        return ""

    def _go_on(self, intake: Intake, compactor: Compactor) -> None:
        interval = get_settings().stream.interval_seconds
        place = intake.milestones[0]
        for milestone in intake.milestones[1:]:
            place = self._catch_up(intake, compactor, place, milestone)
        while True:
            place = self._catch_up(intake, compactor, place, in_kafka()[1])
            if self._once or self._interrupted():
                return
            if interval < _LIVE_BELOW_SECONDS:
                place = self._follow(intake, compactor, place, interval)
            else:
                self._note_ready()
                self._rest(intake, compactor, interval)

    def _catch_up(self, intake: Intake, compactor: Compactor, place: Offsets, end: Offsets) -> Offsets:
        """Take in what lies between two places in Kafka; returns where it ended, which is earlier if interrupted."""
        for rows, reached in read_between(self._spark, place, end):
            self._take(intake, compactor, rows, reached)
            if self._interrupted():
                return reached
        return end

    def _follow(self, intake: Intake, compactor: Compactor, place: Offsets, interval: float) -> Offsets:
        """Take in events as they arrive, until interrupted or too far behind; returns where in Kafka to go on."""
        with Live(self._spark, place, self._checkpoints / str(uuid.uuid4())) as live:
            while not self._interrupted():
                begun = time.monotonic()
                if (waiting := live.waiting()) > _FAR_BEHIND:
                    log.info("%s events are waiting: catching up", f"{waiting:,}")
                    break
                batch = live.read(_WATCH_SECONDS)
                if batch is None:
                    self._look_after(intake, compactor)
                else:
                    rows, place = batch
                    self._take(intake, compactor, rows, place)
                if live.started:
                    self._note_ready()
                # Events that come together cost less than the same events one by one.
                time.sleep(max(0.0, begun + interval - time.monotonic()))
        return place

    def _rest(self, intake: Intake, compactor: Compactor, seconds: float) -> None:
        awake = time.monotonic() + seconds
        while time.monotonic() < awake and not self._interrupted():
            self._look_after(intake, compactor)
            self._stop.wait(min(_WATCH_SECONDS, max(0.0, awake - time.monotonic())))

    def _take(self, intake: Intake, compactor: Compactor, rows: pa.Table, place: Offsets) -> None:
        intake.take(rows, place)
        self._events += rows.num_rows
        self._look_after(intake, compactor)

    def _look_after(self, intake: Intake, compactor: Compactor) -> None:
        intake.commit_if_due()
        compactor.run_if_due()
        self._outcomes.run_if_due()
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            log.info("%s events in the last %.0f s", f"{self._events:,}", time.monotonic() - self._reported)
            self._reported, self._events = time.monotonic(), 0

    def _interrupted(self) -> bool:
        return bool(self._stop) or (not self._once and (pause_wanted() or self._erasures.due()))

    def _note_ready(self) -> None:
        if not self._ready.exists():
            self._ready.touch()
            log.info("ready: %s", get_settings().kafka.events_topic)


def _summary(exception: Exception | None) -> str:
    """The part of a Spark exception that says what happened, without its hundred lines of Java."""
    lines = [line.strip() for line in str(exception).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Exception" in line]
    return " | ".join(dict.fromkeys([*lines[:1], *telling[-2:]]))[:600]
