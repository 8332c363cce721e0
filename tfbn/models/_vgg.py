"""VGG networks for small images (Simonyan & Zisserman 2015, arXiv 1409.1556)."""

import functools

import keras

from tfbn import validation
from tfbn.models import blocks

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
_MOST_WIDTH = 1e6  # far beyond what fits into memory


def vgg(
    depth="A",
    *,
    width=1.0,
    norm=None,
    norm_after=None,
    activation="relu",
    num_classes=10,
    input_shape=(32, 32, 3),
    classifier_grid=None,
    hidden_units=(),
    dropout=0.0,
    kernel_initializer="glorot_uniform",
    l2_penalty=0.0,
    name=None,
):
    """A VGG network: 3x3 convolutions in five stages, each followed by a max pooling.

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
        classifier_grid: int > 0 or None. With a number, an adaptive average pooling
            makes a map of so many by so many of the last pooling's before the
            classifier: 7 is what torchvision's VGG does, which of 32x32 inputs repeats
            each feature 49 times. Default None: the map as it is.
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
        ValueError: for an argument outside its range.
    """
    depth = validation.choice("depth", depth, tuple(_STAGES))
    width = validation.number("width", width, above=0.0, maximum=_MOST_WIDTH)
    num_classes = validation.integer("num_classes", num_classes, minimum=1)
    input_shape = _checked_input_shape(input_shape)
    hidden_units = validation.integers("hidden_units", hidden_units, minimum=1)
    dropout = validation.number("dropout", dropout, minimum=0.0, below=1.0)
    norms = _norm_of_each(norm, norm_after, sum(_STAGES[depth]))
    activation = validation.keras_object("activation", activation, keras.activations)
    if classifier_grid is not None:
        grid = validation.integer("classifier_grid", classifier_grid, minimum=1)
        classifier_grid = (grid, grid)
    _check_memory(depth, width, hidden_units, num_classes, input_shape, classifier_grid)
    kernel = functools.partial(blocks.kernel_options, kernel_initializer, l2_penalty)

    inputs = x = keras.Input(input_shape)
    x = _features(x, depth, width, norms, activation, kernel)
    if classifier_grid is not None:
        x = _pooled_to(x, classifier_grid)
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
    # Where its size divides the grid's, the pooling repeats the map. Keras's own layer
    # fails in the graph on a size of 1.
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
    if len(shape) != 3 or min(shape[:2]) < 32:
        raise ValueError(
            "input_shape must be (height, width, channels) with height and width of at "
            f"least 32: five poolings halve them. Received: input_shape={shape}."
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
