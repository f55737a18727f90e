"""Settings of training, of when a new model takes over, and of when it is taken back."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, PositiveInt

from feature_repo.sections.section import Section

# A tree of a ranker has at most so many: they are the bits of one number when it answers.
MOST_LEAVES = 64


class ALSEngine(StrEnum):
    """What fits the candidate model."""

    IMPLICIT = "implicit"
    SPARK = "spark"


class RankerSettings(Section):
    """The trees of one of the three rankers; ``python -m training tune`` searches for better ones."""

    trees: int = Field(100, ge=1, description="how many")
    learning_rate: float = Field(0.08, gt=0, description="how much each corrects those before it")
    leaves: int = Field(16, ge=2, le=MOST_LEAVES, description="of each")
    rows_per_leaf: int = Field(100, ge=1, description="at least")
    columns: float = Field(0.3, gt=0, le=1, description="share of the features that each split chooses from, at random")
    l2: float = Field(1.0, ge=0, description="pull of the leaves' values towards zero")


class OrderRankerSettings(RankerSettings):
    """Visits with a purchase are few, and large trees learn them by heart."""

    trees: int = Field(150, ge=1, description="how many")
    learning_rate: float = Field(0.05, gt=0, description="how much each corrects those before it")
    leaves: int = Field(4, ge=2, le=MOST_LEAVES, description="of each")
    rows_per_leaf: int = Field(40, ge=1, description="at least")


class ListRankerSettings(RankerSettings):
    """It ranks a page, not hundreds of candidates, and so can take its time."""

    trees: int = Field(200, ge=1, description="how many")


class TrainingSettings(Section):
    """What ``python -m training run`` learns from and how."""

    seed: int = Field(7, description="seed of everything random in training")
    factors: PositiveInt = Field(64, description="latent factors of the ALS candidate model")
    als_on: ALSEngine = Field(
        ALSEngine.IMPLICIT,
        description="what fits the ALS: implicit (one thread), or spark (MLlib, on SHELFWISE_SPARK__MASTER)",
    )
    als_iterations: PositiveInt = Field(15, description="ALS sweeps")
    als_confidence: float = Field(4.0, description="how much one interaction outweighs none (alpha of implicit ALS)")
    als_regularization: float = Field(2.0, description="pull of the ALS factors towards zero")
    turn_ranker: RankerSettings = RankerSettings()
    order_ranker: OrderRankerSettings = OrderRankerSettings()
    list_ranker: ListRankerSettings = ListRankerSettings()
    click_weight: float = Field(1.0, description="weight of a chosen product; one passed over weighs 1")
    cart_weight: float = Field(1.0, description="the same of a product of a list that was then put into the cart")
    order_weight: float = Field(1.0, description="the same of one that was then ordered")
    max_lists: PositiveInt = Field(30_000, description="most impression lists used, the latest first")
    test_share: float = Field(0.2, description="last share of the impression lists, held out for evaluation")
    item_spaces: int = Field(
        6,
        ge=1,
        description="how many times the item space is fitted along the rankers' rows, to be no older than in use",
    )
    max_turns: PositiveInt = Field(
        20_000, description="most moments used at which a customer turned to another product"
    )
    turn_negatives: PositiveInt = Field(40, description="candidates not turned to that are kept per such moment")
    test_turns: PositiveInt = Field(1_000, description="such moments at which the evaluation asks for the next product")
    min_lists: int = Field(100, ge=10, description="clicked impression lists without which training refuses to start")
    candidates: PositiveInt = Field(200, description="candidates given to the ranker per request")


class RetrainSettings(Section):
    """When ``python -m training retrain`` trains a challenger, and what it must show to be promoted."""

    max_event_age_hours: float = Field(24.0, gt=0, description="newest stored event, at most so old")
    min_new_lists: int = Field(
        200, ge=1, description="fewest clicked impression lists since the last event that the champion learnt from"
    )
    tolerance: float = Field(
        0.03,
        ge=0,
        description="by how much hit rates, MRR and NDCG of the challenger may be below the champion's; the 95% interval of "
        "the difference must not reach further down",
    )
    min_cases: int = Field(
        100, ge=1, description="with fewer cases of a question, only what is certainly worse is refused"
    )
    max_latency_ratio: float = Field(
        1.5, gt=0, description="median time of a recommendation by the challenger, as a multiple of the champion's"
    )
    tracking_uri: str = Field(
        "", description="MLflow tracking server or store; empty: MLFLOW_TRACKING_URI, else a file in SHELFWISE_HOME"
    )


class WatchSettings(Section):
    """When ``python -m training watch`` goes back to the version before, by the metrics of the running service."""

    metrics_url: str = Field("", description="where the service's metrics are; empty: at the service's own address")
    min_requests: int = Field(200, ge=1, description="answers of a version from which it is judged")
    max_failure_rise: float = Field(
        0.01,
        ge=0,
        description="share of requests that fail inside the service, at most so much above the version before",
    )
    max_fallback_rise: float = Field(0.1, ge=0, description="share of answers with a fallback, at most so much above")
    max_latency_ratio: float = Field(
        1.5, gt=0, description="95th percentile of the answers' time, at most so many times"
    )
    max_click_fall: float = Field(
        0.2,
        gt=0,
        description="clicks on what was shown, at most so much below the version before, as a share of its own",
    )
