"""Times of Arrow columns as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def epoch_ms(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Timestamps as whole milliseconds since 1970, shape (rows,)."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    milliseconds = values.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
    return np.asarray(milliseconds.to_numpy(zero_copy_only=False), dtype=np.int64)
