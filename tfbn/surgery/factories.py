"""Makes the layer that replaces another."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from tfbn import validation
from tfbn.layers import BatchNorm
from tfbn.layers import BatchRenorm
from tfbn.layers import LpBatchNorm

# The arguments that the layers of Keras and tfbn have in common.
COMMON = (
    "axis",
    "momentum",
    "epsilon",
    "center",
    "scale",
    "synchronized",
    "beta_initializer",
    "gamma_initializer",
    "moving_mean_initializer",
    "moving_variance_initializer",
    "beta_regularizer",
    "gamma_regularizer",
    "beta_constraint",
    "gamma_constraint",
)
_RENORM = ("renorm", "renorm_clipping", "renorm_momentum")
_KEPT = ("axis", "epsilon", "center", "scale")  # inference depends on them


def check(factory: Any) -> None:
    """Refuses what makes no batch-norm layers, with a ValueError."""
    kind, _ = _class_and_arguments(factory)
    if kind is None:
        fits = callable(factory)
    else:
        keeps_variance = not issubclass(kind, LpBatchNorm)
        fits = issubclass(kind, keras.layers.BatchNormalization) and keeps_variance
    if not fits:
        raise ValueError(
            "factory must be a subclass of keras.layers.BatchNormalization that keeps "
            "averages of mean and variance, or a function that returns such layers. "
            f"Received: factory={validation.shown(factory)}."
        )


def make(
    factory: Callable[..., keras.layers.Layer],
    layer: keras.layers.BatchNormalization,
) -> keras.layers.BatchNormalization:
    """The layer, not built yet, that replaces `layer`.

    Raises:
        ValueError: if it is no batch-norm layer, or one whose inference would differ.
    """
    kind, fixed = _class_and_arguments(factory)
    arguments = common_arguments(layer) if kind is None else _known(kind, layer)
    arguments |= fixed
    try:
        made: Any = (kind.from_config if kind else _called(factory))(arguments)
    except TypeError as error:  # Keras makes one of any error in from_config
        reason = str(error).rpartition("Exception encountered: ")[2]
        raise ValueError(
            "factory must make a layer of the arguments of batch-norm layers. "
            f"Received: {', '.join(arguments)}, with which it fails: "
            f"{' '.join(reason.split())}"
        ) from error
    if not isinstance(made, keras.layers.BatchNormalization):
        raise ValueError(
            "factory must return a layer that is a keras.layers.BatchNormalization. "
            f"Received: {validation.shown(made)} for {layer.name}."
        )
    if made.built or made.name != layer.name:
        raise ValueError(
            "factory must return a new layer with the name that it is given. Received: "
            f"{made.name} for {layer.name}{', built already' if made.built else ''}."
        )
    _check_kept(layer, made)
    return made


def common_arguments(layer: keras.layers.BatchNormalization) -> dict[str, Any]:
    """The arguments of a layer that all batch-norm layers of Keras and tfbn take."""
    config = layer.get_config()
    common = {name: config[name] for name in COMMON if name in config}
    return {**_base(layer), **common}


def _class_and_arguments(factory):
    """The class that a class, or a partial of one, makes, and what it fixes."""
    if inspect.isclass(factory):
        return factory, {}
    if isinstance(factory, functools.partial) and not factory.args:
        if inspect.isclass(factory.func):
            return factory.func, factory.keywords
    return None, {}


def _called(factory):
    fixed = factory.keywords if isinstance(factory, functools.partial) else {}
    return lambda arguments: factory(**{**arguments, **fixed})


def _known(kind, layer):
    """Those arguments of a layer that a class has."""
    config = layer.get_config()
    known = {name for c in kind.__mro__ for name in _parameters(c)}
    is_renorm = issubclass(kind, BatchRenorm)
    if not is_renorm and (issubclass(kind, BatchNorm) or "renorm" not in config):
        known -= set(_RENORM)
    given = {name: value for name, value in config.items() if name in known}
    return {**given, **_base(layer)}


def _base(layer):
    return {
        "name": layer.name,
        "trainable": layer.trainable,
        "dtype": layer.dtype_policy,
    }


def _parameters(kind):
    return (
        inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else ()
    )


def _check_kept(layer, made):
    for name in _KEPT:
        before, after = getattr(layer, name), getattr(made, name)
        if before != after:
            raise ValueError(
                f"factory must keep {', '.join(_KEPT)}, on which inference depends. "
                f"Received: {name}={after} for {layer.name} with {name}={before}."
            )
