"""Loss surfaces along filter-normalised directions (Li et al. 2018, arXiv 1712.09913).

At parameters theta, along one or two directions (their eq. 1):

```
f(a)    = L(theta + a delta)
f(a, b) = L(theta + a delta + b eta)
```

A random direction is Gaussian, and each filter of it is scaled to the norm of that
filter of theta (their sec. 4): `d <- d / |d| * |theta|`, filter by filter. Without it,
how flat a surface looks would depend on the scale of the parameters, which a
normalisation behind them undoes.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import measurement
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot


class LossSurface(NamedTuple):
    """The loss on a line or on a square grid around given parameters.

    Attributes:
        radii: float64 array `[n]`, how far along a direction, in its own lengths.
        losses: float64 array `[n]`, or `[n, n]`: the row is the place along the first
            direction, the column that along the second.
    """

    radii: np.ndarray
    losses: np.ndarray

    def record(self):
        """The values of a "surface" or "surface_2d" record."""
        return {"radii": self.radii.tolist(), "losses": self.losses.tolist()}


class SurfaceMeter:
    """Measures the surface of one model's loss around given parameters.

    Cost: a forward pass a point (`n` or `n^2`), one after the other; memory is that of
    a forward pass, the directions and a copy of the parameters. Neither other radii,
    another number of them nor other directions trace anew; with `jit_compile` another
    number compiles anew.

    The model runs on the given batch with the same averages and the same noise at all
    points. No state changes.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        training: bool, whether the model runs in training mode. Default True: the
            surface that training descends. Li et al.'s published code runs in
            inference mode, whose averages do not follow the parameters.
        jit_compile: bool, whether XLA compiles the measurement. Default False.

    Raises:
        ValueError: for a model that is not built or has nothing to train.
    """

    def __init__(self, model, loss, *, training=True, jit_compile=False):
        self._loss = LossFunction(model, loss, training=training)
        self._measure = measurement.compiled(self._all_losses, jit_compile=jit_compile)

    @property
    def cost(self):
        """`measurement.Cost` of one point, with two directions."""
        return measurement.Cost(passes=1.0 / 3.0, copies=3)

    def __call__(self, state, x, y, *, radii, directions):
        """Measures around `state.parameters`.

        Args:
            state: `State`.
            x, y: the batch, tensors or structures of tensors.
            radii: floats, the places along each direction; with 0 the point itself.
            directions: one or two directions, each a list of tensors like
                `state.parameters`, taken as they are; see
                `filter_normalized_directions`.

        Returns:
            A `LossSurface`.

        Raises:
            ValueError: for radii that are not finite, directions that do not fit the
                parameters, a batch that does not fit, or a loss that is not a scalar.
        """
        radii = _checked_radii(radii)
        directions = _checked_directions(directions, state.parameters)
        grids = np.meshgrid(*[radii] * len(directions), indexing="ij")
        points = np.stack([g.ravel() for g in grids], axis=-1)
        # Ragged, as their number is no part of what a trace is for.
        ragged = tf.RaggedTensor.from_row_lengths(points, [len(points)])
        losses = self._measure(*state, directions, ragged, x, y)
        return LossSurface(radii, losses.numpy().reshape(grids[0].shape))

    def _all_losses(self, parameters, buffers, directions, points, x, y):
        """float64 `[number of points]`."""

        def loss_at(point):
            moved = list(parameters)
            for place, direction in zip(tf.unstack(point), directions, strict=True):
                moved = [
                    p + tf.cast(place, p.dtype) * d
                    for p, d in zip(moved, direction, strict=True)
                ]
            return tf.cast(self._loss(moved, buffers, x, y), tf.float64)

        # One after the other, so that one point's activations are alive at a time.
        return tf.map_fn(
            loss_at,
            points.values,
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([], tf.float64),
        )


def loss_surface(
    model,
    loss,
    x,
    y,
    *,
    radii,
    dimensions=1,
    seed=0,
    include_vectors=False,
    training=True,
):
    """The loss around a model's parameters, along random filter-normalised directions.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        x, y: a batch, arrays, tensors or structures of them.
        radii: floats, the places along each direction, such as
            `np.linspace(-1, 1, 25)`.
        dimensions: 1 for a curve (default) or 2 for a surface.
        seed: int >= 0, of the directions. Default 0.
        include_vectors: as in `filter_normalized_directions`.
        training: bool, whether the model runs in training mode. Default True.

    Returns:
        A `LossSurface`. Cost: that of `SurfaceMeter`; each call of this function traces
        anew. No state changes.

    Raises:
        ValueError: as `SurfaceMeter` and `filter_normalized_directions` do.
    """
    meter = SurfaceMeter(model, loss, training=training)
    x, y = measurement.as_batch(x, y)
    state = snapshot(model)
    directions = filter_normalized_directions(
        state.parameters,
        dimensions=dimensions,
        seed=seed,
        include_vectors=include_vectors,
    )
    return meter(state, x, y, radii=radii, directions=directions)


def filter_normalized_directions(
    parameters, *, dimensions=1, seed=0, include_vectors=False
):
    """Random directions, each filter as long as that of the parameters.

    A filter is a slice of the last axis of a parameter of rank 2 or more: what feeds
    one unit or channel. The directions are not orthogonalised, as in the paper: in high
    dimension they nearly are orthogonal.

    Args:
        parameters: list of tensors, as in `State`.
        dimensions: 1 or 2, the number of directions. Default 1.
        seed: int >= 0. The first direction does not depend on `dimensions`.
        include_vectors: bool, whether to move the parameters of rank 1 or less (biases,
            gamma, beta) too, each as one filter. Default False: their direction is 0,
            as in Li et al.'s published code (whose other choice is another one: to move
            them along themselves).

    Returns:
        A list of `dimensions` directions, each a list of tensors like `parameters`.

    Raises:
        ValueError: for an argument outside its range.
    """
    dimensions = validation.choice("dimensions", dimensions, (1, 2))
    seed = validation.integer("seed", seed, minimum=0)
    include_vectors = validation.boolean("include_vectors", include_vectors)
    return [
        [
            _random_like(p, [seed, i * 2 + axis], include_vectors)
            for i, p in enumerate(parameters)
        ]
        for axis in range(dimensions)
    ]


def _random_like(parameter, seed, include_vectors):
    rank = parameter.shape.rank
    if rank < 2 and not include_vectors:
        return tf.zeros_like(parameter)
    values = tf.cast(parameter, tf.float64)
    drawn = tf.random.stateless_normal(
        values.shape, tf.constant(seed, tf.int64), dtype=tf.float64, alg="philox"
    )
    axes = None if rank < 2 else list(range(rank - 1))
    squares = (
        tf.reduce_sum(tf.square(t), axes, keepdims=True) for t in (values, drawn)
    )
    scale = tf.sqrt(tf.math.divide_no_nan(*squares))
    return tf.cast(scale * drawn, parameter.dtype)


def _checked_radii(radii):
    """A float64 array `[n]`."""
    try:
        values = np.array(radii, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or not values.size or not np.all(np.isfinite(values)):
        raise ValueError(
            "radii must be a list of one or more finite numbers. "
            f"Received: radii={validation.shown(radii)}."
        )
    return values


def _checked_directions(directions, parameters):
    """Lists of tensors of the dtypes of the parameters."""
    shapes = [tuple(p.shape) for p in parameters]
    found = [[tuple(np.shape(d)) for d in direction] for direction in directions]
    if len(found) not in (1, 2) or any(each != shapes for each in found):
        raise ValueError(
            "directions must be one or two lists of tensors like the parameters, of "
            f"shapes {shapes}. Received: {len(found)} of shapes {found}."
        )
    return [
        [tf.cast(d, p.dtype) for d, p in zip(direction, parameters, strict=True)]
        for direction in directions
    ]
