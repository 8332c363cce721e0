"""Checks of what a user passes in: the value back, or one clear ValueError.

Each message names the argument, the rule and the received value.
"""

import difflib
import math
import numbers


def integer(name, value, *, minimum):
    """`value` as an int of at least `minimum`. A bool is no integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError(
            f"{name} must be an integer of at least {minimum}. "
            f"Received: {name}={value!r} of type {type(value).__name__}."
        )
    if value < minimum:
        raise ValueError(
            f"{name} must be at least {minimum}. Received: {name}={value}."
        )
    return int(value)


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
            f"Received: {name}={value!r} of type {type(value).__name__}."
        )
    if math.isnan(value) or (finite and math.isinf(value)):
        raise ValueError(f"{name} must be finite. Received: {name}={value}.")
    rules = {
        f"at least {minimum:g}": value >= minimum,
        f"at most {maximum:g}": value <= maximum,
        f"greater than {above:g}": value > above or above == -math.inf,
        f"less than {below:g}": value < below or below == math.inf,
    }
    if not all(rules.values()):
        rule = " and ".join(r for r in rules if not r.endswith("inf"))
        raise ValueError(f"{name} must be {rule}. Received: {name}={value}.")
    return float(value)


def choice(name, value, allowed):
    """`value` if it is one of `allowed`; else an error with the nearest of them."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    suggestion = f" Did you mean {near[0]!r}?" if near else ""
    names = ", ".join(repr(a) for a in allowed)
    raise ValueError(
        f"{name} must be one of {names}. Received: {name}={value!r}.{suggestion}"
    )


def boolean(name, value):
    """`value` if it is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False. Received: {name}={value!r}.")
    return value
