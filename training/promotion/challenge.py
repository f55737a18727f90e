"""A challenger, from training to the verdict of the gate; what it takes to be compared fairly with the champion."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from feature_repo.settings import Settings
from feature_repo.store import open_store
from training.data.events import BEGINNING, Window
from training.data.history import require_features
from training.model import ModelCard, Recommender
from training.pipeline import Trained, read_archive, train
from training.promotion import gate
from training.promotion.artefact import load_model, store_model
from training.promotion.exam import Exam
from training.promotion.freshness import JUST_AFTER
from training.promotion.gate import Check
from training.promotion.record import data_version
from training.steps import Steps


@dataclass(frozen=True)
class Champion:
    """The promoted model."""

    version: str
    recommender: Recommender
    card: ModelCard


@dataclass(frozen=True)
class Challenge:
    """A stored challenger and what the gate found.

    Attributes:
        against: the champion's version; None if it was compared with popularity.
        data: versions of the Delta tables when reading began.
    """

    version: str
    against: str | None
    trained: Trained
    checks: list[Check]
    data: dict[str, int]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """Why it may be promoted, or why not."""
        if self.passed:
            return f"passed the gate against {self.against or 'popularity'}"
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)

    def report(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "challenger": self.version,
            "champion": self.against,
            "passed": self.passed,
            "verdict": self.verdict,
            "judged_since": datetime.fromtimestamp(self.trained.split, tz=UTC).isoformat(),
            "delta_versions": self.data,
            "checks": [asdict(check) for check in self.checks],
            "card": asdict(self.trained.card),
        }

    def show(self, console: Console) -> None:
        """A table of the checks."""
        table = Table(title=f"{self.version} against {self.against or 'popularity'}", title_justify="left")
        for heading in ("check", "passed", "result"):
            table.add_column(heading, overflow="fold")
        for check in self.checks:
            table.add_row(check.name, "yes" if check.passed else "[bold red]no[/]", check.detail)
        console.print(table)


def challenge(champion: Champion | None, settings: Settings, steps: Steps) -> Challenge:
    """Train a challenger, store it without promoting it, and compare it with the champion.

    The test begins after the last event that the champion learnt from, so that neither of them has seen it.
    """
    data = data_version()
    with steps("events, impressions and labels"):
        seen = datetime.fromisoformat(champion.card.until) + JUST_AFTER if champion else BEGINNING
        archive = read_archive(Window(), settings.training, unseen_since=seen.timestamp())
    with steps("feature store"):
        store = open_store()
        require_features(store)
    trained = train(store, archive, settings.training, steps)
    with steps("model store"):
        version = store_model(trained.recommender, trained.card, trained.distributions)
    checks = _checks(version, trained, champion, settings, steps)
    return Challenge(version, champion.version if champion else None, trained, checks, data)


def _checks(version: str, trained: Trained, champion: Champion | None, settings: Settings, steps: Steps) -> list[Check]:
    limits, theirs = settings.retrain, champion.recommender if champion else None
    with steps("gate: quality on held-back events"):
        stored, _ = load_model(version)
        exam = Exam.after_split(trained)
        checks = gate.quality(exam, theirs, {"held back": trained.candidate, "as stored": stored}, limits)
    if theirs:
        with steps("gate: latency"):
            checks.append(gate.latency(exam, theirs, stored, limits))
    with steps("gate: parity of stored features"):
        return [*checks, gate.parity()]
