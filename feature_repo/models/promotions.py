"""Which stored model the service is to answer with: a small file beside BentoML's model store.

BentoML itself only knows which version is the latest. Training stores versions that may never be served, so what is served is
said here: a stack of promotions, of which the last is in force and those below it are what can be gone back to. The file is
replaced as a whole, so that a reader sees the stack from before a change or from after it, whatever is killed meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.errors import InputError, UnavailableError
from feature_repo.settings import get_settings

# As the version in SHELFWISE_SERVING__MODEL: whatever is promoted.
PROMOTED = "promoted"
_KEPT = 50


@dataclass(frozen=True)
class Promotion:
    """A version of the model that was promoted, when (ISO 8601) and why."""

    version: str
    at: str
    why: str


def model_name() -> str:
    """The model's name in BentoML's store."""
    return get_settings().serving.model.partition(":")[0]


def path() -> Path:
    """Where the promotions are kept."""
    return get_settings().bentoml_home / "promotions" / f"{model_name()}.json"


def promotions() -> tuple[Promotion, ...]:
    """All that are in the stack, the one in force last; empty if nothing was promoted yet.

    Raises:
        InputError: the file was changed by hand to something that cannot be read.
    """
    try:
        text = path().read_text()
    except FileNotFoundError:
        return ()
    try:
        return tuple(Promotion(**entry) for entry in json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path()} cannot be read ({error}): remove it, then `python -m training promote`") from error


def in_force() -> str | None:
    """The version that was promoted last; raises as :func:`promotions`."""
    stack = promotions()
    return stack[-1].version if stack else None


def promote(version: str, why: str, instead_of: str | None) -> None:
    """Put a version in force.

    Args:
        instead_of: the version in force that this was decided against; None if there was none.

    Raises:
        UnavailableError: another version is in force by now.
    """
    with _changing() as stack:
        present = stack[-1].version if stack else None
        _refuse_change(present, instead_of)
        if present != version:
            now = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
            _write([*stack, Promotion(version, now, why)][-_KEPT:])


def go_back_to(version: str, instead_of: str) -> None:
    """Put an earlier promotion in force again, and forget those after it.

    Raises:
        UnavailableError: another version than ``instead_of`` is in force by now.
        InputError: the version is not among the promotions before that.
    """
    with _changing() as stack:
        _refuse_change(stack.pop().version if stack else None, instead_of)
        while stack and stack[-1].version != version:
            stack.pop()
        if not stack:
            raise InputError(
                f"{version} was not in force before {instead_of}: use `python -m training promote {version}`"
            )
        _write(stack)


def _refuse_change(present: str | None, expected: str | None) -> None:
    if present != expected:
        raise UnavailableError(
            f"{present or 'nothing'} is in force by now, not {expected or 'nothing'}: "
            "look at `python -m training models`, then try again"
        )


@contextmanager
def _changing() -> Iterator[list[Promotion]]:
    """The promotions, which nobody else changes meanwhile."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with path().with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield list(promotions())


def _write(stack: list[Promotion]) -> None:
    draft = path().with_suffix(".draft")
    with draft.open("w") as file:
        json.dump([asdict(promotion) for promotion in stack], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path())
