"""Checks of what a user passes in: the value back, or one clear ValueError.

Each message names the argument, the rule and the received value.
"""

import difflib
import math
import numbers

import numpy as np

_INT64_MAX = 2**63 - 1
_TEBIBYTE = 2**40
_LONGEST = 100  # characters of a value in a message


def integer(name, value, *, minimum, maximum=_INT64_MAX):
    """`value` as an int from `minimum` to `maximum`. A bool is no integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(
            f"{name} must be an integer of at least {minimum}. "
            f"Received: {name}={shown(value)} of type {type(value).__name__}."
        )
    if value < minimum:
        raise ValueError(
            f"{name} must be at least {minimum}. Received: {name}={shown(int(value))}."
        )
    if value > maximum:
        largest = ", the largest 64-bit integer" if maximum == _INT64_MAX else ""
        raise ValueError(
            f"{name} must be at most {maximum}{largest}. "
            f"Received: {name}={shown(int(value))}."
        )
    return int(value)


def integers(name, values, *, minimum, maximum=_INT64_MAX):
    """A tuple of ints, each as in `integer`."""
    bounds = {"minimum": minimum, "maximum": maximum}
    try:
        return tuple(integer(name, value, **bounds) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a list of integers of at least {minimum}. "
            f"Received: {name}={shown(values)} of type {type(values).__name__}."
        ) from error


def number(
    name,
    value,
    *,
    minimum=-math.inf,
    maximum=math.inf,
    above=-math.inf,
    below=math.inf,
    finite=True,
    alternative=None,
):
    """`value` as a float in `[minimum, maximum]`, above `above` and below `below`.

    Args:
        name: str, the argument's name.
        value: what was received.
        minimum, maximum, above, below: floats.
        finite: bool, refuse infinities. NaN is always refused.
        alternative: str or None, what else the argument takes, for the message.
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


def choice(name, value, allowed):
    """That of the strings and numbers `allowed` which `value` is equal to.

    The error for any other value suggests the nearest of them.
    """
    is_plain = isinstance(value, (str, numbers.Number)) and not isinstance(value, bool)
    if is_plain and value in allowed:
        return allowed[allowed.index(value)]
    names = ", ".join(map(repr, allowed))
    raise ValueError(
        f"{name} must be one of {names}. Received: {name}={shown(value)}."
        f"{suggestion(value, allowed)}"
    )


def keras_object(name, value, module):
    """What `module`, such as `keras.initializers`, makes of `value`; None stays."""
    try:
        return module.get(value)
    except Exception as error:  # a config can be wrong in as many ways as there are
        kind = module.__name__.rpartition(".")[2]
        known = [n for n in dir(module) if n.islower() and not n.startswith("_")]
        raise ValueError(
            f"{name} must be one of keras.{kind}, or the name of one. Received: "
            f"{name}={shown(value)}.{suggestion(value, known)}"
        ) from error


def boolean(name, value):
    """`value` as a bool, if it is one, Python's or NumPy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"{name} must be True or False. Received: {name}={shown(value)}."
        )
    return bool(value)


def string(name, value):
    """`value`, if it is a str."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string. Received: {name}={shown(value)}.")
    return value


def memory(num_bytes, **arguments):
    """Refuses arguments that ask for more than a tebibyte."""
    if num_bytes > _TEBIBYTE:
        received = ", ".join(f"{name}={shown(v)}" for name, v in arguments.items())
        raise ValueError(
            f"{', '.join(arguments)} must fit into memory together. "
            f"Received: {received}, which takes {shown(num_bytes // _TEBIBYTE)} TiB."
        )


def shown(value):
    """How a message shows a value: in one line, the middle left out if that is long."""
    if isinstance(value, numbers.Real):
        value = value.item() if isinstance(value, np.generic) else value
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no integer of more than 4300 digits
        text = f"an integer of {value.bit_length()} bits"
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 4 :]}"


def suggestion(value, allowed):
    """A question to end a message with: which of `allowed` was meant; or nothing."""
    texts = {str(option).lower(): option for option in allowed}
    text = value if isinstance(value, str) else shown(value)
    near = difflib.get_close_matches(text.lower(), texts, n=1)
    return f" Did you mean {texts[near[0]]!r}?" if near else ""


def _as_float(value):
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
