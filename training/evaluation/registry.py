"""The models that can be evaluated, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from feature_repo.sections.training import TrainingSettings
from training.evaluation.baselines.als import Als
from training.evaluation.baselines.click_through import ClickThrough
from training.evaluation.baselines.cooccurrence import Cooccurrence
from training.evaluation.baselines.item_item import METHODS, ItemItem
from training.evaluation.baselines.own import Own
from training.evaluation.baselines.popular import Popular
from training.evaluation.baselines.session_knn import SessionKnn
from training.evaluation.baselines.shown import Shown
from training.evaluation.baselines.transitions import Transitions
from training.evaluation.models import Model
from training.evaluation.stream import Variant
from training.evaluation.tasks import Task

if TYPE_CHECKING:
    from training.evaluation.shelfwise import Workshop


@dataclass(frozen=True)
class Setting:
    """What a model may know when it is made.

    Attributes:
        ids, customer_ids: products and customers by number.
        cut: up to when the static variant learns, epoch seconds.
        training: how Shelfwise learns; its seed is that of everything random.
    """

    ids: tuple[str, ...]
    customer_ids: NDArray[np.object_]
    cut: float
    training: TrainingSettings

    @property
    def products(self) -> int:
        """How many products there are."""
        return len(self.ids)

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.training.seed

    @cached_property
    def workshop(self) -> Workshop:
        """What Shelfwise's own models share; importing Feast takes seconds, which baselines need not wait for."""
        from training.evaluation.shelfwise import Workshop

        return Workshop(self.ids, self.customer_ids, self.cut, self.training)


@dataclass(frozen=True)
class Entry:
    """A model to choose.

    Attributes:
        about: one line for people.
        make: makes a fresh one, for one task in one variant.
        kind: what it is compared with: Shelfwise's own models with the best baseline.
        tasks, variants: where it makes sense.
    """

    about: str
    make: Callable[[Setting], Model]
    kind: Literal["baseline", "shelfwise"] = "baseline"
    tasks: tuple[Task, ...] = tuple(Task)
    variants: tuple[Variant, ...] = tuple(Variant)


def _item_item(setting: Setting, method: str, daily: bool) -> Model:
    return ItemItem(setting.products, method, daily)


def _als(setting: Setting, daily: bool) -> Model:
    return Als(setting.products, setting.customer_ids, setting.seed, daily)


def _shelfwise(setting: Setting) -> Model:
    from training.evaluation.shelfwise import Shelfwise

    return Shelfwise(setting.workshop)


_DAILY = (Variant.STREAMING,)

MODELS: dict[str, Entry] = {
    "popular": Entry("popularity of the last 7 days", lambda setting: Popular(setting.products)),
    "own": Entry("the customer's own products, the latest first", lambda setting: Own(setting.products)),
    "cooccurrence": Entry("together with the last product", lambda setting: Cooccurrence(setting.products)),
    "transitions": Entry(
        "transition kNN: what follows the last products", lambda setting: Transitions(setting.products)
    ),
    "session-knn": Entry("VS-kNN: what similar sessions hold", lambda setting: SessionKnn(setting.products)),
    "click-through": Entry("clicks by showings, decayed over 7 days", lambda setting: ClickThrough(setting.products)),
    "shown": Entry("the original order", lambda setting: Shown(setting.products), tasks=(Task.RERANK,)),
    "als": Entry("implicit's ALS with fold-in", partial(_als, daily=False)),
    "als-daily": Entry("the same, refitted daily", partial(_als, daily=True), variants=_DAILY),
    **{
        method: Entry(f"implicit's item-item neighbours, {method}", partial(_item_item, method=method, daily=False))
        for method in METHODS
    },
    **{
        f"{method}-daily": Entry(
            "the same, refitted daily", partial(_item_item, method=method, daily=True), variants=_DAILY
        )
        for method in METHODS
    },
    "shelfwise": Entry("the recommender of `python -m training run`, fitted before the cut", _shelfwise, "shelfwise"),
}
