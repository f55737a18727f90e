"""Keeping models in BentoML's model store."""

from __future__ import annotations

import os
from pathlib import Path

from feature_repo.settings import get_settings
from training.model import ModelCard, Recommender


def store_model(recommender: Recommender, card: ModelCard) -> str:
    """Save a model under the name in ``SHELFWISE_SERVING__MODEL``; gives its tag.

    The version is the time of training and the content hash: versions sort by age, and equal models are seen to be so.
    """
    os.environ["BENTOML_HOME"] = str(get_settings().bentoml_home)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml
    from bentoml.models import ModelContext

    name = get_settings().serving.model.partition(":")[0]
    moment = "".join(filter(str.isdigit, card.trained_at[:19]))
    version = f"{moment}-{card.content[:8]}"
    about = {"since": card.since, "until": card.until, "seed": card.seed, "content": card.content, **card.counts}
    with bentoml.models.create(
        f"{name}:{version}",
        module="training.model",
        metadata={**about, "metrics": card.metrics, "features": list(card.features), "definition": card.definition},
        context=ModelContext(framework_name="shelfwise", framework_versions={}),
    ) as model:
        recommender.save(Path(model.path), card)
    return str(model.tag)
