"""The MLP of the batch-normalisation paper (Ioffe & Szegedy 2015, sec. 4.1)."""

import functools
import math
from collections.abc import Callable
from collections.abc import Sequence

import keras

from tfbn import validation
from tfbn.models import blocks
from tfbn.models.network import ACTIVATION
from tfbn.models.network import GLOROT
from tfbn.models.network import KERNELS
from tfbn.models.network import Network


def mlp(
    *,
    hidden_units: Sequence[int] = (100, 100, 100),
    activation: str = "sigmoid",
    norm: Callable[[], keras.layers.Layer] | None = None,
    num_classes: int = 10,
    input_shape: tuple[int, ...] = (28, 28, 1),
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    l2_penalty: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """Dense layers, each followed by a normalisation layer and its activation.

    Args:
        hidden_units: tuple of int, sizes of the hidden layers. Default three of 100.
        activation: str, their nonlinearity. Default sigmoid (the paper).
        norm: callable that makes a normalisation layer, or None. A dense layer whose
            norm has a beta has no bias.
        num_classes: int, the number of logits.
        input_shape: tuple of int; inputs are flattened. Default MNIST's.
        kernel_initializer: str or initializer. The paper says "small random Gaussian
            values" without a scale; the default is Keras's.
        l2_penalty: float >= 0, weight of the sum of squared kernels in the loss.
        name: str or None.

    Returns:
        A built `keras.Model` from `[n, *input_shape]` to float32 logits
        `[n, num_classes]`. Layers are called dense1, dense2, ..., logits.

    Raises:
        ValueError: if an argument is outside its range.
    """
    hidden_units = validation.integers("hidden_units", hidden_units, minimum=1)
    activation = validation.keras_object("activation", activation, keras.activations)
    num_classes = validation.integer("num_classes", num_classes, minimum=1)
    input_shape = validation.integers("input_shape", input_shape, minimum=1)
    blocks.check_memory(
        blocks.num_weights([math.prod(input_shape), *hidden_units, num_classes]),
        hidden_units=hidden_units,
        num_classes=num_classes,
        input_shape=input_shape,
    )
    kernel = functools.partial(blocks.kernel_options, kernel_initializer, l2_penalty)
    inputs = keras.Input(input_shape)
    x = keras.layers.Flatten()(inputs)
    for i, units in enumerate(hidden_units, start=1):
        x = blocks.normalized(
            keras.layers.Dense, x, norm, name=f"dense{i}", units=units, **kernel()
        )
        x = keras.layers.Activation(activation)(x)
    return keras.Model(inputs, blocks.logits(x, num_classes, **kernel()), name=name)


def _build(*, activation, num_outputs, **arguments):
    if activation != "default":
        arguments["activation"] = activation
    return mlp(num_classes=num_outputs, **arguments)


NETWORK = Network(
    name="mlp",
    build=_build,
    options=(ACTIVATION, *KERNELS),
    defaults=GLOROT,
    needs="inputs of any shape and labels",
    fits=lambda input_shape, num_outputs: True,
)
