"""Values of a column in the form in which Feast keeps them online: serialised ``feast.types.Value`` messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from feast.protos.feast.types.Value_pb2 import FloatList, Int32List, Int64List, StringList, Value
from google.protobuf.timestamp_pb2 import Timestamp

_MISSING = Value().SerializeToString()
_DOUBLE = 0x29  # field 5, eight bytes

_MESSAGES: dict[pa.DataType, Callable[[Any], Value]] = {
    pa.string(): lambda value: Value(string_val=value),
    pa.int64(): lambda value: Value(int64_val=value),
    pa.list_(pa.string()): lambda value: Value(string_list_val=StringList(val=value)),
    pa.list_(pa.float32()): lambda value: Value(float_list_val=FloatList(val=value)),
    pa.list_(pa.int32()): lambda value: Value(int32_list_val=Int32List(val=value)),
    pa.list_(pa.int64()): lambda value: Value(int64_list_val=Int64List(val=value)),
}


def encoded(column: pa.Array) -> list[bytes]:
    """Each value of a column as a message; missing ones are empty messages, as Feast writes them."""
    if pa.types.is_float64(column.type):
        return _doubles(column)
    message = _MESSAGES[column.type]
    return [_MISSING if value is None else message(value).SerializeToString() for value in column.to_pylist()]


def _doubles(column: pa.Array) -> list[bytes]:
    numbers = column.fill_null(0.0).to_numpy(False).astype("<f8")
    messages = np.empty((len(numbers), 9), np.uint8)
    messages[:, 0] = _DOUBLE
    messages[:, 1:] = numbers.view(np.uint8).reshape(-1, 8)
    text = messages.tobytes()
    valid = column.is_valid().to_numpy(False)
    return [text[9 * row : 9 * row + 9] if valid[row] else _MISSING for row in range(len(numbers))]


def timestamp(ms: int) -> bytes:
    """A time in epoch milliseconds as Feast writes it beside the values."""
    stamp = Timestamp()
    stamp.FromMilliseconds(ms)
    return stamp.SerializeToString()
