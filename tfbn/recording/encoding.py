"""A record as a line of strict JSON.

JSON has no number for NaN or infinity, so those are written as the strings "NaN",
"Infinity" and "-Infinity", and reading restores the floats.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from tfbn import validation

_NON_FINITE = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}


def encode(record: Mapping) -> str:
    """Returns a record as a line of strict JSON, without a line break.

    Raises:
        ValueError: if a value is of a type that a record cannot hold.
    """
    return json.dumps(plain(record, "values"), allow_nan=False)


def decode(line: str | bytes) -> dict:
    """Returns the record that a line holds.

    Raises:
        ValueError: if the line is no record.
    """
    record = json.loads(line)
    valid = (
        isinstance(record, dict)
        and _is_step(record.get("step"))
        and isinstance(record.get("kind"), str)
    )
    if not valid:
        raise ValueError("a record must hold an int `step` >= 0 and a string `kind`")
    return _with_floats(record)


def plain(value: Any, name: str) -> Any:
    """Returns `value`, the record's `name`, as types that strict JSON has.

    Raises:
        ValueError: if it is of a type that a record cannot hold.
    """
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, name) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{name} must be a number, a string, a boolean, None, or a list, dict or NumPy "
        f"array of these. Received: {validation.shown(value)} of type "
        f"{type(value).__name__}."
    )


def _is_step(value) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and 0 <= value < 2**63


def _with_floats(value):
    """Restores floats that are not finite from their strings."""
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value
