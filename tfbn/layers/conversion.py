"""What one batch-norm layer stores, as another of Keras, tf_keras or tfbn takes it.

The weights of these layers differ in what follows gamma and beta:

```
plain                moving_mean, moving_variance
Keras's renorm       ... moving_stddev, renorm_mean, renorm_stddev
BatchRenorm          ... moving_stddev, step
  with two sets      ... moving_stddev, renorm_mean, renorm_stddev, step
```
"""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfbn import _compat
from tfbn import validation

# How a weights file calls the layers whose weights convert into each other. A layer of
# another class, such as LpBatchNorm, has averages of another meaning.
CLASSES_IN_FILES = (
    "batch_normalization",
    "sync_batch_normalization",  # of tf_keras
    "batch_norm",
    "batch_renorm",
    "noisy_batch_norm",
)

_AFFINE = ("gamma", "beta")
_PLAIN = ("moving_mean", "moving_variance")
_ONE_SET = (*_PLAIN, "moving_stddev")
_TWO_SETS = (*_ONE_SET, "renorm_mean", "renorm_stddev")
_KNOWN = {*_AFFINE, *_TWO_SETS, "step"}

_KERAS_RENORM_MOMENTUM = 0.99  # the default of its layers
_CLIPPING = ("rmax", "rmin", "dmax")


def converts(layer: Any) -> bool:
    """Whether an object is a built batch-norm layer of which `layer_weights` knows."""
    if not isinstance(layer, keras.layers.BatchNormalization):
        return False
    names = {weight.name for weight in layer.weights}
    return set(_PLAIN) <= names <= _KNOWN


def layer_weights(
    layer: keras.layers.BatchNormalization, weights: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The weights for a layer, of those that any batch-norm layer stores.

    Inference is that of the layer they come from. What that one lacks is derived: a
    standard deviation is `sqrt(moving_variance + epsilon)`, with the epsilon of
    `layer`; the renorm averages are the moving averages; `step` keeps its value. What
    `layer` does not keep is left out.

    Args:
        layer: a built layer of Keras or tfbn.
        weights: arrays in the order of the other layer's `get_weights()`.

    Returns:
        A list of arrays in the order of `layer.weights`; `weights` as they are, if they
        or the layer are of another kind.

    Raises:
        ValueError: for renorm averages that differ from the moving averages, if `layer`
            is a BatchRenorm with one set.
    """
    wanted = [weight.name for weight in layer.weights]
    known = _named(weights, [name for name in _AFFINE if name in wanted])
    if known is None or not converts(layer):
        return list(weights)
    if {"moving_stddev", "step"} <= set(wanted) and "renorm_mean" not in wanted:
        _check_one_set(known, layer.name)
    variance = known["moving_variance"]
    known.setdefault("moving_stddev", (variance + layer.epsilon) ** 0.5)
    known.setdefault("renorm_mean", known["moving_mean"])
    known.setdefault("renorm_stddev", known["moving_stddev"])
    if "step" in wanted:
        known.setdefault("step", keras.ops.convert_to_numpy(layer.step))
    return [known[name] for name in wanted]


def stored_weights(
    layer: keras.layers.BatchNormalization, store: Mapping
) -> Mapping[str, np.ndarray]:
    """The weights for a layer, of what Keras found in a `.weights.h5` or `.keras` file.

    Keras looks for a layer under its class, and so misses those of another class. They
    are found by the layer's name, if the file has it.

    Raises:
        ValueError: if the file has no weights for the layer, and as `layer_weights`.
    """
    if not converts(layer):
        return store
    other = _compat.stored_beside(store, layer.name, CLASSES_IN_FILES)
    stored = store if other is None else other
    if not len(stored.keys()):
        raise ValueError(
            f"The file must have weights for {layer.name}. Received: none of a "
            f"{type(layer).__name__} in its place, as Keras pairs the layers of a file "
            "by class. Use tfbn.load_weights(model, path), which takes the weights of "
            "other batch-norm layers too."
        )
    weights = [np.asarray(stored[str(i)]) for i in range(len(stored.keys()))]
    return {str(i): w for i, w in enumerate(layer_weights(layer, weights))}


def _named(weights, affine):
    """Weights by name, told by their number; the last is a scalar if it is `step`."""
    counted = len(weights) > 0 and np.ndim(weights[-1]) == 0
    number = len(weights) - len(affine) - counted
    for averages in (_ONE_SET if counted else _PLAIN, _TWO_SETS):
        if number == len(averages):
            names = (*affine, *averages, *(["step"] if counted else []))
            return dict(zip(names, weights, strict=True))
    return None


def _check_one_set(known, name):
    pairs = (("moving_mean", "renorm_mean"), ("moving_stddev", "renorm_stddev"))
    if any(r in known and not np.array_equal(known[m], known[r]) for m, r in pairs):
        raise ValueError(
            f"The weights for {name} hold renorm averages that differ from the moving "
            "averages, and this layer keeps one set. Give it the renorm_momentum that "
            "the weights were trained with."
        )


def drop_renorm(layer: str, config: dict) -> None:
    """Takes out what the config of a plain layer of Keras says about renorm.

    Args:
        layer: str, the name of the class that is configured, for the message.
        config: dict, changed in place.

    Raises:
        ValueError: if renorm is on.
    """
    for name in ("renorm", "renorm_clipping"):
        value = config.pop(name, None)
        if value:
            raise ValueError(
                f"{name} must be left out of {layer}. Received: {name}="
                f"{validation.shown(value)}. Use tfbn.BatchRenorm with rmax and dmax, "
                "or tfbn.BatchRenorm.from_config with the config of Keras's layer."
            )
    config.pop("renorm_momentum", None)


def batch_norm_config(layer: str, config: dict) -> dict:
    """The config of any batch-norm layer without renorm, as tfbn's layers take it."""
    config = dict(config)
    dtype = config.get("dtype")
    if isinstance(dtype, Mapping) and dtype.get("class_name") == "Policy":
        config["dtype"] = dtype["config"]["name"]  # as tf_keras writes it
    if config.get("renorm"):
        drop_renorm(layer, config)
    return config


def batch_renorm_config(config: dict) -> dict:
    """The config of any batch-norm layer, as BatchRenorm takes it.

    With renorm, the result trains as that layer: `renorm_clipping` gives rmax and dmax
    (infinite, where it has none), and `renorm_momentum` is the same. Without, what is
    said of renorm has no meaning: rmax, dmax and renorm_momentum are BatchRenorm's
    defaults. An rmax or dmax that was added to the config comes first.

    Raises:
        ValueError: for a `renorm_clipping` that bounds r below by another number than
            1 / rmax.
    """
    if not {"renorm", "renorm_clipping"} & config.keys():
        return config
    config = dict(config)
    clipping = config.pop("renorm_clipping", None)
    momentum = config.pop("renorm_momentum", None)
    if not config.pop("renorm", False):
        return config
    config["renorm_momentum"] = _KERAS_RENORM_MOMENTUM if momentum is None else momentum
    if {"rmax", "dmax"} <= config.keys():
        return config
    return {**_bounds(clipping), **config}


def _bounds(clipping):
    given = {k: v for k, v in dict(clipping or {}).items() if v is not None}
    if not given.keys() <= set(_CLIPPING):
        raise ValueError(
            f"renorm_clipping must have no other keys than {', '.join(_CLIPPING)}. "
            f"Received: renorm_clipping={validation.shown(given)}."
        )
    given = {  # floats, or tensors of one
        name: validation.number(
            f"renorm_clipping[{name!r}]",
            np.asarray(value).item(),
            minimum=1.0 if name == "rmax" else 0.0,
            finite=False,
        )
        for name, value in given.items()
    }
    rmax = given.get("rmax", math.inf)
    if not math.isclose(given.get("rmin", 0.0), 1.0 / rmax, rel_tol=1e-6):
        raise ValueError(
            "renorm_clipping must have rmin = 1 / rmax, for BatchRenorm clips r to "
            f"[1 / rmax, rmax]. Received: renorm_clipping={validation.shown(given)} "
            "(without rmin it is 0, without rmax infinite). Add rmax and dmax to the "
            "config, which come first; inference stays the same."
        )
    return {"rmax": rmax, "dmax": given.get("dmax", math.inf)}
