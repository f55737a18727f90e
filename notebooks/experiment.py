"""The experiment that a notebook looks at: the largest that this shop has run, or an invented one of which the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from feature_repo.errors import InputError
from feature_repo.experiments import Experiment, Variant, read_experiments
from feature_repo.reading import Floats
from feature_repo.settings import get_settings
from training.experiments.exposures import Exposures, read_exposures
from training.experiments.sequential import Summary

# Customers, orders per customer, and how much more of them the invented experiment's variant brings.
_CUSTOMERS, _ORDERS, _LIFT = 12_000, 0.08, 0.25
_SHOWN = 20
_PLAIN = 1.96  # standard errors to each side of a plain 95% interval


@dataclass(frozen=True)
class Trial:
    """An experiment with what its customers did, in the order in which they came.

    Attributes:
        truth: by how much the variant changes the mean of each measure, where it is known.
    """

    name: str
    experiment: Experiment
    exposures: Exposures
    truth: dict[str, float]

    @property
    def measures(self) -> dict[str, Floats]:
        """A value per customer."""
        return {"conversion": self.exposures.converted, "CTR": self.exposures.click_rates}


def open_trial(seed: int) -> Trial:
    """The declared experiment with the most customers whose time is over; else an invented one."""
    file = get_settings().serving.experiments_file
    tried = [_stored(name, one) for name, one in read_experiments(Path(file)).experiments.items()] if file else []
    found = [trial for trial in tried if trial and min(trial.exposures.counts(trial.experiment).values())]
    return max(found, key=lambda trial: len(trial.exposures.variants)) if found else _invented(seed)


def _stored(name: str, experiment: Experiment) -> Trial | None:
    try:
        return Trial(name, experiment, read_exposures(name, experiment, datetime.now(UTC)), {})
    except InputError:  # nobody was shown it
        return None


def _invented(seed: int) -> Trial:
    """Customers with unlike tastes, half of whom see a variant that sells a quarter more, and is clicked a tenth more."""
    rng = np.random.default_rng(seed)
    experiment = Experiment(variants={"control": Variant(), "bold": Variant()})
    ids = (f"customer-{number}" for number in range(_CUSTOMERS))
    variants = np.array([experiment.variant_of("invented", customer) for customer in ids], object)
    bold = variants == "bold"
    clicks = rng.beta(1, 15, _CUSTOMERS) * np.where(bold, 1.1, 1.0)
    orders = _ORDERS * np.where(bold, 1 + _LIFT, 1.0)
    exposures = Exposures(
        variants,
        rng.binomial(_SHOWN, clicks) / _SHOWN,
        (rng.random(_CUSTOMERS) < orders).astype(float),
        pending=0,
        crossed=0,
    )
    return Trial("invented", experiment, exposures, {"conversion": _ORDERS * _LIFT, "CTR": 0.1 / 16})


def both(
    trial: Trial, values: Floats, variants: np.ndarray, variant: str, looks: np.ndarray
) -> list[tuple[Summary, Summary]]:
    """The control's summary and a variant's, as of each look.

    Args:
        values: a value per customer, in the order in which they came.
        variants: what each saw.
        looks: after how many customers.
    """
    sides = (_summaries(values, variants == name, looks) for name in (trial.experiment.control, variant))
    return list(zip(*sides, strict=True))


def _summaries(values: Floats, belongs: np.ndarray, looks: np.ndarray) -> list[Summary]:
    """Of the customers who belong to a variant, as of each look."""
    own = np.where(belongs, values, 0.0)
    counts, sums, squares, positive = (
        np.cumsum(part)[looks - 1] for part in (belongs, own, own**2, belongs & (values != 0))
    )
    means = sums / np.maximum(counts, 1)
    return [
        Summary(int(count), float(mean), float(max(square / max(count, 1) - mean**2, 0.0)), int(some))
        for count, mean, square, some in zip(counts, means, squares, positive, strict=True)
    ]


def plain_interval(control: Summary, variant: Summary) -> tuple[float, float]:
    """The 95% interval of a difference that is looked at once."""
    value = variant.mean - control.mean
    error = _PLAIN * np.sqrt(sum(one.variance / max(one.count, 1) for one in (control, variant)))
    return float(value - error), float(value + error)
