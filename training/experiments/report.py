"""The report on an experiment: what each variant did, whether the assignment worked, and what may be concluded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from feature_repo.experiments import Experiment
from feature_repo.reading import Floats
from training.experiments.exposures import Exposures, read_exposures
from training.experiments.sequential import MISMATCH_BELOW, Difference, Summary, difference, mismatch

_ALPHA = 0.05


@dataclass(frozen=True)
class VariantResult:
    """A variant's customers.

    Attributes:
        expected: how many customers it should have by its weight.
        click_rate: mean over customers of the share that each clicked of what he was shown.
        conversion: share of the customers who ordered something that they were shown.
    """

    name: str
    customers: int
    expected: float
    click_rate: float
    conversion: float


@dataclass(frozen=True)
class Comparison:
    """A variant beside the control in one measure (``conversion`` or ``CTR``)."""

    variant: str
    measure: str
    difference: Difference


@dataclass(frozen=True)
class Report:
    """An experiment as of a moment.

    Attributes:
        mismatch: chance that numbers of customers are ever as far from the declared ones, if the assignment works.
        mismatched: whether that is too small to believe; then there are no comparisons.
        notes, verdicts: in words.
    """

    name: str
    variants: list[VariantResult]
    mismatch: float
    mismatched: bool
    comparisons: list[Comparison]
    notes: list[str]
    verdicts: list[str]


def report(name: str, experiment: Experiment, until: datetime) -> Report:
    """What is to be said of an experiment as of a moment.

    Raises:
        InputError: nobody was shown a variant.
    """
    found = read_exposures(name, experiment, until)
    return judged(name, experiment, found)


def judged(name: str, experiment: Experiment, found: Exposures) -> Report:
    """The report on what customers did."""
    counts = found.counts(experiment)
    total = sum(counts.values())
    chance = mismatch(counts, experiment.shares)
    variants = [
        VariantResult(
            variant,
            counts[variant],
            total * share,
            Summary.of(found.click_rates[found.variants == variant]).mean,
            Summary.of(found.converted[found.variants == variant]).mean,
        )
        for variant, share in experiment.shares.items()
    ]
    notes = list(_notes(found, chance))
    if chance < MISMATCH_BELOW:
        verdict = (
            f"No verdict: so many customers in each variant ever come by chance in one of {1 / max(chance, 1e-300):,.0f} "
            f"experiments (p = {chance:.2g}), so that the variants' customers are not alike. Look for what keeps lists of one "
            "variant from being shown or reported, or for weights that were changed under way."
        )
        return Report(name, variants, chance, True, [], notes, [verdict])
    comparisons = [
        Comparison(variant, measure, _compared(experiment, found, variant, values))
        for variant in list(experiment.shares)[1:]
        for measure, values in (("conversion", found.converted), ("CTR", found.click_rates))
    ]
    verdicts = [_verdict(one, experiment, counts) for one in comparisons]
    return Report(name, variants, chance, False, comparisons, notes, verdicts)


def _compared(experiment: Experiment, found: Exposures, variant: str, values: Floats) -> Difference:
    """Several variants share the chance of an error."""
    others = len(experiment.shares) - 1
    control, treated = (Summary.of(values[found.variants == name]) for name in (experiment.control, variant))
    return difference(control, treated, experiment.planned, _ALPHA / others)


def _notes(found: Exposures, chance: float) -> Iterator[str]:
    if found.pending:
        yield f"{found.pending:,} more customers have seen a variant, but their time to order is not over."
    if found.crossed:
        yield f"{found.crossed:,} customers have seen another variant later; they count for the first."
    yield (
        f"Numbers of customers are as declared (p = {chance:.2g})."
        if chance >= MISMATCH_BELOW
        else "Numbers of customers are NOT as declared."
    )


def _verdict(one: Comparison, experiment: Experiment, counts: dict[str, int]) -> str:
    found, control = one.difference, experiment.control
    subject = f"{one.measure} of {one.variant}"
    if found.p is None or found.low is None or found.high is None:
        return f"{subject}: too early to tell, there are too few customers, clicks or orders."
    size = f"{found.value * 100:+.2f} points ({found.low * 100:+.2f} to {found.high * 100:+.2f}, p = {found.p:.2g})"
    if found.low > 0:
        return f"{subject}: better than {control}, {size}."
    if found.high < 0:
        return f"{subject}: worse than {control}, {size}."
    seen = counts[control] + counts[one.variant]
    further = "go on" if seen < experiment.planned else "if there is a difference, it is smaller than was planned for"
    return f"{subject}: no difference from {control} is shown, {size}; {further}."
