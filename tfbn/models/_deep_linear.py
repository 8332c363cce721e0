"""The deep linear network of Santurkar et al. 2018 (App. A.1)."""

import keras

from tfbn import validation
from tfbn.models import blocks


def deep_linear(
    depth=25,
    units=10,
    *,
    norm=None,
    norm_last=False,
    kernel_initializer="glorot_uniform",
    l2_penalty=0.0,
    name=None,
):
    """`depth` square linear layers without biases: `y = x W_1 ... W_depth`.

    Args:
        depth: int >= 1, the number of layers. Default 25 (the paper).
        units: int >= 1, the size of input, output and all between. Default 10.
        norm: callable that makes a normalisation layer, which follows each linear
            layer, or None.
        norm_last: bool, whether one follows the last layer too; its outputs are then
            standardised before gamma and beta. The paper does not say. Default False.
        kernel_initializer: str or initializer. Default Glorot (App. A.1).
        l2_penalty: float >= 0, weight of the sum of squared kernels in the loss.
        name: str or None.

    Returns:
        A built `keras.Model` from `[n, units]` to `[n, units]`, the output in float32.
        Layers are called linear1, ..., linear25.

    Raises:
        ValueError: for an argument outside its range.
    """
    depth = validation.integer("depth", depth, minimum=1)
    units = validation.integer("units", units, minimum=1)
    norm_last = validation.boolean("norm_last", norm_last)
    blocks.check_memory(depth * units**2, depth=depth, units=units)
    inputs = x = keras.Input((units,))
    for i in range(1, depth + 1):
        x = keras.layers.Dense(
            units,
            use_bias=False,
            name=f"linear{i}",
            **blocks.kernel_options(kernel_initializer, l2_penalty),
        )(x)
        norm_layer = blocks.make_norm(norm if i < depth or norm_last else None)
        x = x if norm_layer is None else norm_layer(x)
    # An identity: under mixed precision, losses want full precision.
    outputs = keras.layers.Activation(
        "linear", dtype=blocks.full_precision(), name="outputs"
    )(x)
    return keras.Model(inputs, outputs, name=name)
