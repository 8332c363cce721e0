"""`Network`: what a registry of networks holds, and the options that several take."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping

import keras

from tfbn.options import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """A network that a run can name.

    Attributes:
        name: str.
        build: function `(norm, input_shape, num_outputs, **options)` -> built model;
            `options` has a value for each of `options`.
        options: the options that it takes.
        defaults: what "default" means where an option shared between networks has that
            value.
        task: "classification" or "regression".
        needs: str, the inputs and targets that it is for, for messages.
        fits: function `(input_shape, num_outputs)` -> whether these are such.
    """

    name: str
    build: Callable[..., keras.Model]
    options: tuple[Option, ...]
    defaults: Mapping[str, str]
    task: str = "classification"
    needs: str
    fits: Callable[[tuple[int, ...], int], bool]


WIDTH = Option(
    "width",
    1.0,
    "Multiplies the channels of VGG and ResNet, and VGG's hidden units.",
    above=0.0,
)
ACTIVATION = Option(
    "activation",
    "default",
    "Nonlinearity of VGG's convolutions and hidden layers and of the MLP's; "
    "default: relu in VGG, sigmoid in the MLP.",
    choices=("default", "relu", "sigmoid", "tanh"),
)
KERNELS = (
    Option(
        "kernel_initializer",
        "default",
        "Keras initializer of the kernels; default: he_normal in ResNet, "
        "glorot_uniform elsewhere.",
    ),
    Option(
        "l2_penalty",
        0.0,
        "Weight of the sum of squared kernels in the loss.",
        minimum=0.0,
    ),
)
GLOROT = {"kernel_initializer": "glorot_uniform"}
