"""Checks of arguments: each returns the value, or raises one clear ValueError.

Each message names the argument, the rule and the received value.
"""

import difflib
import math
import numbers
from collections.abc import Iterable
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

_INT64_MAX = 2**63 - 1
_TEBIBYTE = 2**40
_LONGEST = 100  # characters of a value in a message


def integer(name: str, value: Any, *, minimum: int, maximum: int = _INT64_MAX) -> int:
    """Returns `value` as an int from `minimum` to `maximum`; a bool is refused."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(
            f"{name} must be an integer of at least {minimum}. "
            f"Received: {name}={shown(value)} of type {type(value).__name__}."
        )
    value = int(value)
    if value < minimum:
        raise ValueError(
            f"{name} must be at least {minimum}. Received: {name}={shown(value)}."
        )
    if value > maximum:
        largest = ", the largest 64-bit integer" if maximum == _INT64_MAX else ""
        raise ValueError(
            f"{name} must be at most {maximum}{largest}. "
            f"Received: {name}={shown(value)}."
        )
    return value


def integers(
    name: str, values: Any, *, minimum: int, maximum: int = _INT64_MAX
) -> tuple[int, ...]:
    """Returns a tuple of ints, each checked by `integer`."""
    bounds = {"minimum": minimum, "maximum": maximum}
    try:
        return tuple(integer(name, value, **bounds) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a list of integers of at least {minimum}. "
            f"Received: {name}={shown(values)} of type {type(values).__name__}."
        ) from error


def number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    finite: bool = True,
    alternative: str | None = None,
) -> float:
    """Returns `value` as a float in `[minimum, maximum]` and in `(above, below)`.

    Args:
        name: str, the argument's name.
        value: the value received.
        minimum, maximum, above, below: floats, the bounds.
        finite: bool, whether to refuse infinities. NaN is always refused.
        alternative: str or None, what else the argument may be, for the message.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        kinds = "a number" if alternative is None else f"a number or {alternative}"
        raise ValueError(
            f"{name} must be {kinds}. "
            f"Received: {name}={shown(value)} of type {type(value).__name__}."
        )
    received, value = shown(value), _as_float(value)
    if math.isnan(value) or (finite and math.isinf(value)):
        raise ValueError(f"{name} must be finite. Received: {name}={received}.")
    rules = {
        f"at least {minimum:g}": value >= minimum,
        f"at most {maximum:g}": value <= maximum,
        f"greater than {above:g}": value > above or above == -math.inf,
        f"less than {below:g}": value < below or below == math.inf,
    }
    if not all(rules.values()):
        rule = " and ".join(r for r in rules if not r.endswith("inf"))
        raise ValueError(f"{name} must be {rule}. Received: {name}={received}.")
    return value


def choice(name: str, value: Any, allowed: Sequence) -> Any:
    """Returns the element of `allowed`, strings and numbers, that equals `value`.

    The error for another value suggests the closest one.
    """
    is_plain = isinstance(value, (str, numbers.Number)) and not isinstance(value, bool)
    if is_plain and value in allowed:
        return allowed[allowed.index(value)]
    names = ", ".join(map(repr, allowed))
    raise ValueError(
        f"{name} must be one of {names}. Received: {name}={shown(value)}."
        f"{suggestion(value, allowed)}"
    )


def keras_model(model: Any) -> keras.Model:
    """Returns `model` if it is a Keras model, built or not."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"model must be a Keras model. Received: model={shown(model)}."
        )
    return model


def keras_object(name: str, value: Any, module: ModuleType) -> Any:
    """Returns `module.get(value)` for a module such as `keras.initializers`."""
    try:
        return module.get(value)
    except Exception as error:  # a config can be wrong in any way
        kind = module.__name__.rpartition(".")[2]
        known = [n for n in dir(module) if n.islower() and not n.startswith("_")]
        raise ValueError(
            f"{name} must be one of keras.{kind}, or the name of one. Received: "
            f"{name}={shown(value)}.{suggestion(value, known)}"
        ) from error


def boolean(name: str, value: Any) -> bool:
    """Returns `value`, a bool of Python or NumPy, as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"{name} must be True or False. Received: {name}={shown(value)}."
        )
    return bool(value)


def string(name: str, value: Any) -> str:
    """Returns `value` if it is a str."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string. Received: {name}={shown(value)}.")
    return value


def memory(num_bytes: int, **arguments: Any) -> None:
    """Refuses arguments that need more than a tebibyte."""
    if num_bytes > _TEBIBYTE:
        received = ", ".join(f"{name}={shown(v)}" for name, v in arguments.items())
        raise ValueError(
            f"{', '.join(arguments)} must fit into memory together. "
            f"Received: {received}, which takes {shown(num_bytes // _TEBIBYTE)} TiB."
        )


def shown(value: Any) -> str:
    """Returns a value for a message: on one line, shortened in the middle if long."""
    if isinstance(value, numbers.Real):
        value = value.item() if isinstance(value, np.generic) else value
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        text = f"an integer of {value.bit_length()} bits"
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 4 :]}"


def suggestion(value: Any, allowed: Iterable) -> str:
    """Returns "Did you mean ...?" with the closest of `allowed`, or ""."""
    texts = {str(option).lower(): option for option in allowed}
    text = value if isinstance(value, str) else shown(value)
    near = difflib.get_close_matches(text.lower(), texts, n=1)
    return f" Did you mean {texts[near[0]]!r}?" if near else ""


def _as_float(value):
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
