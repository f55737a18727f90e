"""Every setting of Shelfwise, its default and what it is for: the one way to ports, folders, addresses and limits.

Values come, strongest first, from environment variables (``SHELFWISE_KAFKA__PORT=9192``), from a TOML file
(``shelfwise.toml`` beside ``pyproject.toml``, or the path in ``SHELFWISE_CONFIG``), and from the defaults here. A key
that is not declared is refused in both places, so that a misspelt setting cannot be silently ignored. The groups of settings
are in :mod:`feature_repo.sections`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, Field, PositiveFloat, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableSetting

from feature_repo.errors import SettingsError
from feature_repo.sections.intake import CatalogSettings, CollectorSettings, PrivacySettings, StreamSettings
from feature_repo.sections.section import Section
from feature_repo.sections.servers import (
    CdcSettings,
    ConnectSettings,
    KafkaSettings,
    RedisSettings,
    S3Settings,
    SparkSettings,
)
from feature_repo.sections.serving import ServingSettings
from feature_repo.sections.training import RetrainSettings, TrainingSettings, WatchSettings
from feature_repo.sections.warehouses import OfflineSettings
from feature_repo.sections.watching import (
    AutomationSettings,
    HealthSettings,
    NotebooksSettings,
    OutcomeSettings,
    ValidationSettings,
)

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ENV_PREFIX = "SHELFWISE_"
CONFIG_PATH_VARIABLE = "SHELFWISE_CONFIG"
HOME_VARIABLE = "SHELFWISE_HOME"
# Set on the processes of the one-machine stack, so that it finds them again; not a setting.
SERVICE_VARIABLE = "SHELFWISE_SERVICE"


class Settings(BaseSettings):
    """All settings, read once by :func:`get_settings`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    home: Path = Field(PROJECT_ROOT / "var", description="where everything that runs keeps its data, logs and models")
    start_timeout_seconds: PositiveFloat = Field(
        300.0, description="how long the one-machine stack waits for a service that it started to be ready"
    )
    kafka: KafkaSettings = KafkaSettings()
    connect: ConnectSettings = ConnectSettings()
    cdc: CdcSettings = CdcSettings()
    redis: RedisSettings = RedisSettings()
    collector: CollectorSettings = CollectorSettings()
    stream: StreamSettings = StreamSettings()
    offline: OfflineSettings = OfflineSettings()
    catalog: CatalogSettings = CatalogSettings()
    s3: S3Settings = S3Settings()
    spark: SparkSettings = SparkSettings()
    health: HealthSettings = HealthSettings()
    validation: ValidationSettings = ValidationSettings()
    training: TrainingSettings = TrainingSettings()
    retrain: RetrainSettings = RetrainSettings()
    watch: WatchSettings = WatchSettings()
    serving: ServingSettings = ServingSettings()
    outcomes: OutcomeSettings = OutcomeSettings()
    automation: AutomationSettings = AutomationSettings()
    privacy: PrivacySettings = PrivacySettings()
    notebooks: NotebooksSettings = NotebooksSettings()

    @property
    def warehouse(self) -> Path:
        """Folder of the offline store's Delta tables."""
        return self.home / "warehouse"

    @property
    def bentoml_home(self) -> Path:
        """Folder of BentoML's model and bento stores; BENTOML_HOME has the last word, as for the ``bentoml`` command."""
        return Path(os.environ.get("BENTOML_HOME") or self.home / "bentoml")

    @property
    def jars(self) -> Path:
        """Folder of the Java libraries that set-up fetched (``kafka/`` and ``spark/``)."""
        return PROJECT_ROOT / ".venv" / "jars"

    @property
    def browser_library(self) -> Path:
        """Folder of Segment's library for browsers that set-up fetched, for the service's storefront."""
        return PROJECT_ROOT / ".venv" / "browser"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=_config_file()))


@lru_cache
def get_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: a key is unknown, a value has the wrong type, or the file named in SHELFWISE_CONFIG is missing.
    """
    _refuse_unknown_variables()
    try:
        return Settings()
    except ValidationError as error:
        # Without the values: some are secret.
        faults = [f"{_named(one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        raise SettingsError(
            f"settings cannot be used: {'; '.join(faults)}; `python -m feature_repo.settings` lists those there are"
        ) from error
    except UnreadableSetting as error:
        lists = [name for name, field in _fields() if get_origin(field.annotation) is tuple and name in os.environ]
        help_ = f'; {", ".join(lists)}: a list is written as ["a", "b"]' if lists else ""
        raise SettingsError(f"settings cannot be used: {error}{help_}") from None
    except ValueError as error:
        raise SettingsError(f"settings cannot be used: {error}") from error


def _named(place: tuple[int | str, ...]) -> str:
    """A setting as a file has it, and as the environment does."""
    variable = "__".join(part for part in place if isinstance(part, str)).upper()
    return f"{'.'.join(map(str, place))} ({ENV_PREFIX}{variable})"


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_PATH_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_PATH_VARIABLE} names {named}, which is not a file")
    return Path(named) if named else PROJECT_ROOT / "shelfwise.toml"


def variable_names() -> dict[str, str]:
    """Every environment variable that sets something, with its description."""
    return {name: field.description or "" for name, field in _fields()}


def _fields(settings: type[BaseModel] = Settings, prefix: str = ENV_PREFIX) -> Iterator[tuple[str, FieldInfo]]:
    """Every single setting, by its environment variable."""
    for name, field in settings.model_fields.items():
        annotation, variable = field.annotation, f"{prefix}{name.upper()}"
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _fields(annotation, f"{variable}__")
        else:
            yield variable, field


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores unknown environment variables; a typo there must not pass unseen."""
    known = {*variable_names(), CONFIG_PATH_VARIABLE, SERVICE_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}; `python -m feature_repo.settings` lists those there are"
        )


def main() -> None:
    """Print every setting with its value and meaning, secrets masked."""
    settings = get_settings()
    for name, description in variable_names().items():
        value: Any = settings
        for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
            value = getattr(value, part)
        print(f"{name}={value}\n    {description}")


if __name__ == "__main__":
    main()
