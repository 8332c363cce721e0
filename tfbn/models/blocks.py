"""The pieces that the builders share."""

import itertools

import keras

from tfbn import validation
from tfbn.models._weight_norm import WeightNorm


def make_norm(norm):
    """The normalisation layer that `norm` makes, or None without one.

    Raises:
        ValueError: if `norm` is neither None nor callable, or makes no Keras layer.
    """
    if norm is None:
        return None
    if isinstance(norm, keras.layers.Layer) or not callable(norm):
        raise ValueError(
            "norm must be None or a callable that makes a new layer each time, such as "
            f"tfbn.BatchNorm. Received: norm={validation.shown(norm)}."
        )
    layer = norm()
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"norm must make a keras layer. Received: norm() returned {layer!r}."
        )
    return layer


def normalized(layer, x, norm, *, name, **arguments):
    """`norm(layer(x))`, with the bias left out where the norm has its own.

    Args:
        layer: `keras.layers.Dense` or another class with `use_bias`.
        x: symbolic tensor.
        norm: a callable that makes the normalisation layer, or None.
        name: str, of the layer.
        **arguments: of `layer`.
    """
    if isinstance(norm, WeightNorm):
        return norm.of(layer)(name=name, **arguments)(x)
    norm_layer = make_norm(norm)
    use_bias = not getattr(norm_layer, "center", False)
    x = layer(name=name, use_bias=use_bias, **arguments)(x)
    return x if norm_layer is None else norm_layer(x)


def scaled(units, width):
    """`units` times `width`, at least 1."""
    return max(1, round(units * width))


def num_weights(sizes):
    """In the kernels of dense layers between layers of these sizes."""
    return sum(before * after for before, after in itertools.pairwise(sizes))


def check_memory(weights, **arguments):
    """Raises a ValueError for `arguments` that ask for a number of weights too large.

    Building the network would fail, or fill the machine's memory, without naming them.
    """
    validation.memory(4 * weights, **arguments)


def kernel_options(initializer, l2_penalty):
    """The keyword arguments of a layer's kernel.

    Args:
        initializer: str or initializer. Each call makes one of its own: an instance
            that layers shared would give all of them the same weights.
        l2_penalty: float >= 0, weight of the sum of squares in the loss.
    """
    initializer = validation.keras_object(
        "kernel_initializer", initializer, keras.initializers
    )
    if hasattr(initializer, "clone"):
        initializer = initializer.clone()
    l2_penalty = validation.number("l2_penalty", l2_penalty, minimum=0.0)
    regularizer = keras.regularizers.L2(l2_penalty) if l2_penalty else None
    return {"kernel_initializer": initializer, "kernel_regularizer": regularizer}


def logits(x, num_classes, **kernel):
    """The output layer, in full precision also under a mixed policy."""
    return keras.layers.Dense(
        num_classes, dtype=full_precision(), name="logits", **kernel
    )(x)


def full_precision():
    """The dtype of the present policy's weights: float32, or float64."""
    return keras.config.dtype_policy().variable_dtype
