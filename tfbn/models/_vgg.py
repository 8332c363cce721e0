"""VGG networks for small images (Simonyan & Zisserman 2015, arXiv 1409.1556)."""

import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import keras

from tfbn import validation
from tfbn.models import blocks
from tfbn.models.network import ACTIVATION
from tfbn.models.network import GLOROT
from tfbn.models.network import KERNELS
from tfbn.models.network import WIDTH
from tfbn.models.network import Network
from tfbn.options import Option

# Convolutions in each of the five stages: Table 1 of the paper. C's last convolutions
# of stages 3 to 5 have 1x1 kernels.
_STAGES = {
    "A": (1, 1, 2, 2, 2),
    "B": (2, 2, 2, 2, 2),
    "C": (2, 2, 3, 3, 3),
    "D": (2, 2, 3, 3, 3),
    "E": (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)
_SMALLEST = 32  # pixels: five poolings halve them
_MOST_WIDTH = 1e6  # far beyond what fits into memory


def vgg(
    depth: str = "A",
    *,
    width: float = 1.0,
    norm: Callable[[], keras.layers.Layer] | None = None,
    norm_after: Iterable[int] | None = None,
    activation: str = "relu",
    num_classes: int = 10,
    input_shape: tuple[int, ...] = (32, 32, 3),
    classifier_grid: int | None = None,
    hidden_units: Sequence[int] = (),
    dropout: float = 0.0,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    l2_penalty: float = 0.0,
    name: str | None = None,
) -> keras.Model:
    """A VGG network: five stages of 3x3 convolutions, each ending in a max pooling.

    A normalisation layer stands between a convolution and its nonlinearity. For 32x32
    inputs the last pooling leaves 1x1; the classifier is one dense layer by default.
    Santurkar et al. 2018 call theirs "VGG-like" and do not state its depth or
    classifier.

    Args:
        depth: str, the paper's configuration "A" (8 convolutions), "B" (10), "C", "D"
            (13) or "E" (16).
        width: float > 0, multiplies the numbers of channels and hidden units.
        norm: callable that makes a normalisation layer, or None. A convolution whose
            norm has a beta has no bias.
        norm_after: iterable of int or None, the convolutions (from 1 on) that `norm`
            follows. Default None: all. `(4,)` is the public replication's network.
        activation: str, the nonlinearity of convolutions and hidden dense layers.
            Default relu (the paper).
        num_classes: int, the number of logits.
        input_shape: `(height, width, channels)`, both sizes at least 32.
        classifier_grid: int > 0 or None. If given, an adaptive average pooling resizes
            the last map to `classifier_grid` by `classifier_grid` before the
            classifier. torchvision's VGG uses 7, which repeats each feature 49 times
            for 32x32 inputs. Default None: the map as it is.
        hidden_units: tuple of int, sizes of dense layers before the logits, not
            normalised. Default none; `(4096, 4096)` in the paper.
        dropout: float in [0, 1), after each of those. Default 0; 0.5 in the paper.
        kernel_initializer: str or initializer. Default Glorot (Santurkar, App. A.1).
        l2_penalty: float >= 0, weight of the sum of squared kernels in the loss.
        name: str or None.

    Returns:
        A built `keras.Model` from images `[n, height, width, channels]` to float32
        logits `[n, num_classes]`. Layers are called conv1, conv2, ..., dense1, ...,
        logits.

    Raises:
        ValueError: if an argument is outside its range.
    """
    depth = validation.choice("depth", depth, tuple(_STAGES))
    width = validation.number("width", width, above=0.0, maximum=_MOST_WIDTH)
    num_classes = validation.integer("num_classes", num_classes, minimum=1)
    input_shape = _checked_input_shape(input_shape)
    hidden_units = validation.integers("hidden_units", hidden_units, minimum=1)
    dropout = validation.number("dropout", dropout, minimum=0.0, below=1.0)
    norms = _norm_of_each(norm, norm_after, sum(_STAGES[depth]))
    activation = validation.keras_object("activation", activation, keras.activations)
    grid = None
    if classifier_grid is not None:
        grid = (validation.integer("classifier_grid", classifier_grid, minimum=1),) * 2
    _check_memory(depth, width, hidden_units, num_classes, input_shape, grid)
    kernel = functools.partial(blocks.kernel_options, kernel_initializer, l2_penalty)

    inputs = x = keras.Input(input_shape)
    x = _features(x, depth, width, norms, activation, kernel)
    if grid is not None:
        x = _pooled_to(x, grid)
    x = keras.layers.Flatten()(x)
    for i, units in enumerate(hidden_units, start=1):
        units = blocks.scaled(units, width)
        x = keras.layers.Dense(units, activation, name=f"dense{i}", **kernel())(x)
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, blocks.logits(x, num_classes, **kernel()), name=name)


def _features(x, depth, width, norms, activation, kernel):
    norms = enumerate(norms, start=1)
    for stage, (layers, channels) in enumerate(
        zip(_STAGES[depth], _CHANNELS, strict=True)
    ):
        for layer in range(layers):
            pointwise = depth == "C" and stage >= 2 and layer == layers - 1
            i, norm = next(norms)
            x = blocks.normalized(
                keras.layers.Conv2D,
                x,
                norm,
                name=f"conv{i}",
                filters=blocks.scaled(channels, width),
                kernel_size=1 if pointwise else 3,
                padding="same",
                **kernel(),
            )
            x = _nonlinearity(activation)(x)
        x = keras.layers.MaxPooling2D()(x)
    return x


def _nonlinearity(activation):
    # Saved models hold relu as a layer of its own.
    if activation is keras.activations.relu:
        return keras.layers.ReLU()
    return keras.layers.Activation(activation)


def _pooled_to(x, grid):
    """Adaptive average pooling of `x` to `grid`, `(height, width)`."""
    # Where the map's size divides the grid's, pooling only repeats the map. Keras's
    # layer fails on a size of 1 in a graph.
    repeats = [
        wanted // size if wanted % size == 0 else 1
        for wanted, size in zip(grid, x.shape[1:3], strict=True)
    ]
    if max(repeats) > 1:
        x = keras.layers.UpSampling2D(repeats)(x)
    if tuple(x.shape[1:3]) != grid:
        x = keras.layers.AdaptiveAveragePooling2D(grid)(x)
    return x


def _norm_of_each(norm, norm_after, num_layers):
    """`norm` or None for each convolution."""
    if norm_after is None:
        return [norm] * num_layers
    chosen = validation.integers("norm_after", norm_after, minimum=1)
    if max(chosen, default=1) > num_layers:
        raise ValueError(
            f"norm_after must name convolutions from 1 to {num_layers}. Received: "
            f"norm_after={chosen}."
        )
    return [norm if i in chosen else None for i in range(1, num_layers + 1)]


def _checked_input_shape(input_shape):
    shape = validation.integers("input_shape", input_shape, minimum=1)
    if not _fits(shape):
        raise ValueError(
            "input_shape must be (height, width, channels) with height and width of at "
            f"least {_SMALLEST}: five poolings halve them. Received: "
            f"input_shape={shape}."
        )
    return shape


def _check_memory(
    depth, width, hidden_units, num_classes, input_shape, classifier_grid
):
    *pixels, channels = input_shape
    rows, columns = classifier_grid or (size // 32 for size in pixels)
    convolutions = [channels]
    for layers, channels in zip(_STAGES[depth], _CHANNELS, strict=True):
        convolutions += [blocks.scaled(channels, width)] * layers
    features = convolutions[-1] * rows * columns
    dense = [features, *(blocks.scaled(u, width) for u in hidden_units), num_classes]
    blocks.check_memory(
        9 * blocks.num_weights(convolutions) + blocks.num_weights(dense),
        width=width,
        hidden_units=hidden_units,
        num_classes=num_classes,
        input_shape=input_shape,
        classifier_grid=classifier_grid,
    )


def _fits(input_shape, num_outputs=None):
    return len(input_shape) == 3 and min(input_shape[:2]) >= _SMALLEST


def _build(
    *, vgg_depth, norm_after, classifier_grid, activation, num_outputs, **arguments
):
    if activation != "default":
        arguments["activation"] = activation
    return vgg(
        vgg_depth,
        norm_after=norm_after or None,
        classifier_grid=classifier_grid or None,
        num_classes=num_outputs,
        **arguments,
    )


NETWORK = Network(
    name="vgg",
    build=_build,
    options=(
        Option("vgg_depth", "A", "VGG's configuration.", choices=tuple(_STAGES)),
        WIDTH,
        Option(
            "hidden_units",
            (),
            "Sizes of VGG's dense layers before the logits; empty: none.",
            minimum=1,
        ),
        Option(
            "dropout",
            0.0,
            "VGG: dropout after each of --hidden_units.",
            minimum=0.0,
            below=1.0,
        ),
        Option(
            "classifier_grid",
            0,
            "VGG: size to which adaptive average pooling resizes the map before the "
            "classifier, 7 in torchvision; 0: no pooling.",
        ),
        Option(
            "norm_after",
            (),
            "VGG: numbers of the convolutions that are normalised, from 1; empty: all.",
            minimum=1,
        ),
        ACTIVATION,
        *KERNELS,
    ),
    defaults=GLOROT,
    needs=f"images of {_SMALLEST}x{_SMALLEST} pixels or more and labels",
    fits=_fits,
)
