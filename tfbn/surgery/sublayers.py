"""Substitutes the layers that a layer holds in its attributes."""

from typing import Any

import keras

from tfbn import _compat

# What Keras and TensorFlow keep in attributes for themselves, beside `_self_...`.
_BOOKKEEPING = {"_layers", "_tracker", "_inbound_nodes", "_outbound_nodes"}


def substitute(
    owner: keras.layers.Layer, old: keras.layers.Layer, new: keras.layers.Layer
) -> None:
    """Puts `new` wherever `owner` holds `old`: in attributes, lists, tuples, dicts."""
    _compat.replace_sublayer(owner, old, new)
    for name, value in list(vars(owner).items()):
        if name in _BOOKKEEPING or name.startswith("_self_"):
            continue
        replaced = _substituted(value, old, new)
        if replaced is not value:
            setattr(owner, name, replaced)


def _substituted(value: Any, old, new):
    """`value` with `new` for `old`; lists and dicts are changed, not copied."""
    if value is old:
        return new
    if isinstance(value, (list, dict)):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in list(keys):
            replaced = _substituted(value[key], old, new)
            if replaced is not value[key]:
                value[key] = replaced
    elif isinstance(value, tuple):
        elements = [_substituted(element, old, new) for element in value]
        if any(a is not b for a, b in zip(elements, value, strict=True)):
            named = hasattr(value, "_fields")
            return type(value)(*elements) if named else type(value)(elements)
    return value
