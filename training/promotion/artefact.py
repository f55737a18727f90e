"""Keeping models in BentoML's model store."""

from __future__ import annotations

import os
from pathlib import Path

from feature_repo.errors import InputError, ShelfwiseError
from feature_repo.models.promotions import model_name
from feature_repo.models.record import stored_models
from feature_repo.settings import get_settings
from training.distributions import Distributions
from training.model import ModelCard, Recommender


def store_model(recommender: Recommender, card: ModelCard, distributions: Distributions) -> str:
    """Save a model with what it saw, and give its version: the time of training and the content hash.

    Versions sort by age, and equal models are seen to be so.
    """
    os.environ["BENTOML_HOME"] = str(get_settings().bentoml_home)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml
    from bentoml.models import ModelContext

    moment = "".join(filter(str.isdigit, card.trained_at[:19]))
    version = f"{moment}-{card.content[:8]}"
    about = {"since": card.since, "until": card.until, "seed": card.seed, "content": card.content, **card.counts}
    with bentoml.models.create(
        f"{model_name()}:{version}",
        module="training.model",
        metadata={**about, "metrics": card.metrics, "features": list(card.features), "definition": card.definition},
        context=ModelContext(framework_name="shelfwise", framework_versions={}),
    ) as model:
        recommender.save(Path(model.path), card)
        distributions.save(Path(model.path))
    return version


def load_model(version: str) -> tuple[Recommender, ModelCard]:
    """A stored model.

    Raises:
        InputError: there is no such version, or its files are broken.
        DefinitionError: it was stored by another version of Shelfwise, or trained with other features.
    """
    try:
        return Recommender.load(_existing(version))
    except ShelfwiseError:
        raise
    except Exception as error:  # a broken file can raise anything
        raise InputError(f"the model {version} is broken: {str(error) or repr(error)}") from error


def read_card(version: str) -> ModelCard:
    """What is recorded with a stored model, whether it can be used or not.

    Raises:
        InputError: there is no such version, or its files are broken.
    """
    folder = _existing(version)
    try:
        return ModelCard.read(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the model {version} is broken: {error}") from error


def read_distributions(version: str) -> Distributions:
    """How the features and scores of a stored model were distributed when it was trained.

    Raises:
        InputError: there is no such version, it was stored without them, or its files are broken.
    """
    try:
        return Distributions.load(_existing(version))
    except FileNotFoundError as error:
        raise InputError(
            f"the model {version} was stored without its distributions; train a new one with `python -m training run`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the model {version} is broken: {error}") from error


def stored_versions() -> list[str]:
    """All versions, the oldest first, also those whose storing was cut off."""
    folder = stored_models()
    return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []


def _existing(version: str) -> Path:
    if version not in stored_versions():
        raise InputError(f"there is no model {version}; `python -m training models` lists them")
    return stored_models() / version
