"""The deep linear network of Santurkar et al. 2018 (App. A.1)."""

from collections.abc import Callable

import keras

from tfbn import validation
from tfbn.models import blocks
from tfbn.models.network import GLOROT
from tfbn.models.network import KERNELS
from tfbn.models.network import Network
from tfbn.options import Option


def deep_linear(
    depth: int = 25,
    units: int = 10,
    *,
    norm: Callable[[], keras.layers.Layer] | None = None,
    norm_last: bool = False,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    l2_penalty: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """`depth` square linear layers without biases: `y = x W_1 ... W_depth`.

    Args:
        depth: int >= 1, the number of layers. Default 25 (the paper).
        units: int >= 1, the size of the input and of every layer. Default 10.
        norm: callable that makes the normalisation layer behind each linear layer, or
            None.
        norm_last: bool, whether to normalise the last layer too, so that the outputs
            are standardised before gamma and beta. Default False; not stated in the
            paper.
        kernel_initializer: str or initializer. Default Glorot (App. A.1).
        l2_penalty: float >= 0, weight of the sum of squared kernels in the loss.
        name: str or None.

    Returns:
        A built `keras.Model` from `[n, units]` to `[n, units]`, the output in float32.
        Layers are called linear1, ..., linear25.

    Raises:
        ValueError: if an argument is outside its range.
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
    # An identity that casts: under mixed precision, losses need full precision.
    outputs = keras.layers.Activation(
        "linear", dtype=blocks.full_precision(), name="outputs"
    )(x)
    return keras.Model(inputs, outputs, name=name)


def _build(*, linear_depth, num_outputs, norm, input_shape, **arguments):
    return deep_linear(linear_depth, num_outputs, norm=norm, **arguments)


NETWORK = Network(
    name="deep_linear",
    build=_build,
    options=(
        Option("linear_depth", 25, "Layers of the deep linear network.", minimum=1),
        *KERNELS,
    ),
    defaults=GLOROT,
    task="regression",
    needs="vectors and targets of the same size",
    fits=lambda input_shape, num_outputs: input_shape == (num_outputs,),
)
