"""What is written down beside a query's checkpoint: where it started, under which name it writes, when it was made."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from feature_repo.settings import get_settings
from ingestion import offsets


@dataclass(frozen=True)
class CheckpointDescription:
    """What every query knows of its checkpoint.

    Attributes:
        app_id: Delta's application id for the writes of this checkpoint; a new one counts batches from 0 again.
        start: where in Kafka it starts.
        created: epoch seconds.
    """

    app_id: str
    start: offsets.Offsets
    created: float

    @property
    def outlived(self) -> bool:
        """Whether the query has remembered ids for long enough."""
        return time.time() - self.created > get_settings().stream.renew_after_hours * 3600

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The description of a checkpoint that was made to the end, if there is one."""
        if not path.is_file():
            return None
        stored = json.loads(path.read_text())
        stored["start"] = {int(key): value for key, value in stored["start"].items()}
        return cls(**stored)

    def write(self, path: Path) -> None:
        """To be written last: a checkpoint without its description was interrupted and is made again."""
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)
