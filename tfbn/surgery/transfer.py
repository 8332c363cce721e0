"""Transfers weights, seeds and flags from layers to their copies."""

import tempfile
from collections.abc import Iterable
from collections.abc import Sequence
from collections.abc import Set

import keras

from tfbn import _compat
from tfbn.layers import conversion

_PLAIN = ("gamma", "beta", "moving_mean", "moving_variance")

Pair = tuple[keras.layers.Layer, keras.layers.Layer]


def transfer(pairs: Sequence[Pair], replaced: Set[int]) -> None:
    """Gives copies the state of the layers that they are copies of.

    Args:
        pairs: of layers and their copies, all built.
        replaced: the ids of batch-norm layers whose copies may be of another class.

    Raises:
        ValueError: if a copy has other weights.
    """
    pairs = _with_late_layers(pairs)
    for layer, copy in pairs:
        if id(layer) in replaced and not _is_like(layer, copy):
            if not conversion.converts(copy):
                raise ValueError(
                    "factory must make layers that keep averages of mean and variance. "
                    f"Received: {type(copy).__name__} for {layer.name}."
                )
            copy.set_weights(_converted(layer, copy))
        else:
            _transfer_own(layer, copy)
    # Outer layers first, as the flag of a layer sets those of all layers inside it.
    for layer, copy in sorted(pairs, key=lambda pair: -_size(pair[0])):
        copy.trainable = layer.trainable


def _is_like(layer, copy):
    names = [[v.name for v in each.variables] for each in (layer, copy)]
    return type(layer) is type(copy) and names[0] == names[1]


def _converted(layer, copy):
    """The weights of a batch-norm layer, as its copy of another class takes them."""
    values = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    if "renorm_mean" in values and "renorm_mean" not in {w.name for w in copy.weights}:
        # Of two sets of averages, that of inference is left.
        values = {name: value for name, value in values.items() if name in _PLAIN}
    return conversion.layer_weights(copy, list(values.values()))


def _with_late_layers(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, with those of sublayers that `build` has made."""
    found = {id(layer): (layer, copy) for layer, copy in pairs}
    for layer, copy in list(found.values()):
        both = [_compat.flatten_layers(each) for each in (layer, copy)]
        if len(both[0]) == len(both[1]):
            for inner, other in zip(*both, strict=True):
                found.setdefault(id(inner), (inner, other))
    return list(found.values())


def _transfer_own(layer, copy):
    """The state that is the layer's own, not that of layers inside it."""
    own, others = _own(layer), _own(copy)
    if [tuple(v.shape) for v in own] != [tuple(v.shape) for v in others]:
        raise ValueError(
            "model must have layers whose copies have the same weights. Received: "
            f"{layer.name} of class {type(layer).__name__} with {len(own)}, whose copy "
            f"has {len(others)}. Give it a build method, or build it in the model."
        )
    for variable, other in zip(own, others, strict=True):
        other.assign(variable)
    if hasattr(layer, "finalize_state"):  # Keras's preprocessing layers
        copy.finalize_state()
    if hasattr(layer, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            copy.load_assets(folder)


def _own(layer):
    inner = {id(v) for sub in _compat.flatten_layers(layer) for v in sub.variables}
    return [v for v in layer.variables if id(v) not in inner]


def _size(layer):
    return len(_compat.flatten_layers(layer))
