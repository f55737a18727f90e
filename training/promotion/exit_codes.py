"""How the commands of the retraining cycle end, so that a scheduler can tell what happened."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 is success, 1 an error and 2 a wrong argument, as everywhere."""

    STALE = 3  # the newest stored event is too old: nothing was trained
    NOTHING_NEW = 4  # too little happened since the champion was trained: nothing was trained
    REFUSED = 5  # the challenger did not pass the gate
    ROLLED_BACK = 6  # the live metrics fell: the version before is in force again
    MISMATCH = 7  # an experiment's numbers of customers are not as declared: there is no verdict
    NOTHING_PROMOTED = 8  # there is no promoted model to look at yet
