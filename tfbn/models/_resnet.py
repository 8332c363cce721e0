"""Residual networks for small images (He et al. 2015, arXiv 1512.03385, sec. 4.2)."""

import functools
from collections.abc import Callable

import keras

from tfbn import validation
from tfbn.models import blocks
from tfbn.models.network import KERNELS
from tfbn.models.network import WIDTH
from tfbn.models.network import Network
from tfbn.options import Option

_CHANNELS = (16, 32, 64)
_SHORTCUTS = ("identity", "projection")
_MOST_WIDTH = 1e6  # far beyond what fits into memory


def resnet(
    depth: int = 20,
    *,
    width: float = 1.0,
    shortcut: str = "identity",
    norm: Callable[[], keras.layers.Layer] | None = None,
    num_classes: int = 10,
    input_shape: tuple[int, ...] = (32, 32, 3),
    kernel_initializer: str | keras.initializers.Initializer = "he_normal",
    l2_penalty: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """The paper's CIFAR-10 network: three stages of residual blocks.

    A 3x3 convolution, then in each stage `(depth - 2) / 6` blocks of two 3x3
    convolutions, with 16, 32 and 64 channels; the first convolution of the second and
    of the third stage has stride 2. Global average pooling and one dense layer follow.
    A normalisation layer stands behind each convolution; ReLU follows it, in the second
    of a block after the addition.

    Args:
        depth: int, the number of layers with kernels, `6n + 2`: 20, 32, 44, 56 or 110
            in the paper. Default 20.
        width: float > 0, multiplies the numbers of channels. Default 1.
        shortcut: str, where a stage changes shape: "identity", every second pixel and
            zeros for the new channels (the paper's option A; default), or "projection",
            a strided 1x1 convolution (option B).
        norm: callable that makes a normalisation layer, or None. A convolution whose
            norm has a beta has no bias.
        num_classes: int, the number of logits.
        input_shape: `(height, width, channels)`.
        kernel_initializer: str or initializer. Default He et al.'s (sec. 4.2).
        l2_penalty: float >= 0, weight of the sum of squared kernels in the loss; half
            of what the paper calls weight decay, 0.0001.
        name: str or None.

    Returns:
        A built `keras.Model` from images `[n, height, width, channels]` to float32
        logits `[n, num_classes]`. Layers are called conv1, conv2, ..., shortcut1, ...,
        logits.

    Raises:
        ValueError: if an argument is outside its range.
    """
    depth = _checked_depth(depth)
    width = validation.number("width", width, above=0.0, maximum=_MOST_WIDTH)
    shortcut = validation.choice("shortcut", shortcut, _SHORTCUTS)
    num_classes = validation.integer("num_classes", num_classes, minimum=1)
    input_shape = _checked_input_shape(input_shape)
    channels = [blocks.scaled(c, width) for c in _CHANNELS]
    blocks.check_memory(3 * depth * channels[-1] ** 2, depth=depth, width=width)
    kernel = functools.partial(blocks.kernel_options, kernel_initializer, l2_penalty)
    convolve = _Convolutions(norm, kernel)

    inputs = keras.Input(input_shape)
    x = keras.layers.ReLU()(convolve(inputs, channels[0]))
    for stage, filters in enumerate(channels):
        for block in range((depth - 2) // 6):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _residual_block(x, filters, strides, shortcut, convolve)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, blocks.logits(x, num_classes, **kernel()), name=name)


class _Convolutions:
    """Makes normalised convolutions, numbered in forward order."""

    def __init__(self, norm, kernel):
        self._norm = norm
        self._kernel = kernel
        self._made = {"conv": 0, "shortcut": 0}

    def __call__(self, x, filters, strides=1, *, kind="conv"):
        self._made[kind] += 1
        return blocks.normalized(
            keras.layers.Conv2D,
            x,
            self._norm,
            name=f"{kind}{self._made[kind]}",
            filters=filters,
            kernel_size=3 if kind == "conv" else 1,
            strides=strides,
            padding="same",
            **self._kernel(),
        )


def _residual_block(x, filters, strides, shortcut, convolve):
    y = keras.layers.ReLU()(convolve(x, filters, strides))
    y = convolve(y, filters)
    if strides > 1 and shortcut == "projection":
        x = convolve(x, filters, strides, kind="shortcut")
    elif strides > 1:
        x = _padded(keras.layers.MaxPooling2D(1, strides)(x), filters)
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def _padded(x, channels):
    """`x` with channels of zeros behind its own."""
    missing = channels - x.shape[-1]
    if not missing:
        return x
    # "channels_first" pads the last two axes, which here are columns and channels.
    padding = ((0, 0), (0, missing))
    return keras.layers.ZeroPadding2D(padding, data_format="channels_first")(x)


def _checked_depth(depth):
    depth = validation.integer("depth", depth, minimum=8)
    if depth % 6 != 2:
        raise ValueError(
            "depth must be 6n + 2, such as 20, 32, 44, 56 or 110. Received: "
            f"depth={depth}."
        )
    return depth


def _checked_input_shape(input_shape):
    shape = validation.integers("input_shape", input_shape, minimum=1)
    if len(shape) != 3:
        raise ValueError(
            f"input_shape must be (height, width, channels). Received: "
            f"input_shape={shape}."
        )
    return shape


def _build(*, resnet_depth, resnet_shortcut, num_outputs, **arguments):
    return resnet(
        resnet_depth, shortcut=resnet_shortcut, num_classes=num_outputs, **arguments
    )


NETWORK = Network(
    name="resnet",
    build=_build,
    options=(
        Option("resnet_depth", 20, "ResNet's layers, 6n + 2.", minimum=8),
        Option(
            "resnet_shortcut",
            "identity",
            "ResNet's shortcuts where the shape changes: padded with zeros (option A "
            "of He et al. 2015), or a 1x1 convolution (option B).",
            choices=_SHORTCUTS,
        ),
        WIDTH,
        *KERNELS,
    ),
    defaults={"kernel_initializer": "he_normal"},
    needs="images and labels",
    fits=lambda input_shape, num_outputs: len(input_shape) == 3,
)
