"""Loss surfaces along filter-normalised directions (Li et al. 2018, arXiv 1712.09913).

At parameters theta, along one or two directions (their eq. 1):

```
f(a)    = L(theta + a delta)
f(a, b) = L(theta + a delta + b eta)
```

A random direction is Gaussian, and each of its filters is scaled to the norm of that
filter of theta (their sec. 4): `d <- d / |d| * |theta|`, filter by filter. Otherwise
the apparent flatness of a surface would depend on the scale of the parameters, which a
normalisation behind them undoes.
"""

import functools
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import arguments
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics.directions import filter_normalized_directions
from tfbn.diagnostics.directions import like_parameters
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.options import Option


class LossSurface(NamedTuple):
    """The loss on a line or on a square grid around given parameters.

    Attributes:
        radii: float64 array `[n]`, positions along a direction, in units of its length.
        losses: float64 array `[n]`, or `[n, n]`: rows are positions along the first
            direction, columns along the second.
    """

    radii: np.ndarray
    losses: np.ndarray

    def record(self) -> dict[str, Any]:
        """Returns the values of a "surface" or "surface_2d" record."""
        return measurement.plain(self)


class SurfaceMeter(diagnostic.Meter):
    """Measures the surface of one model's loss around given parameters.

    Cost: a forward pass per point (`n` or `n^2`), one after the other; memory of a
    forward pass, the directions and a copy of the parameters. Other radii, another
    number of them and other directions do not retrace; with `jit_compile` another
    number compiles anew.

    At all points the model runs on the given batch, with the same moving averages and
    the same noise. No state changes.

    Args:
        model, loss, jit_compile: as in `Diagnostic.meter`.
        training: bool, whether the model runs in training mode. Default True: the
            surface that training descends. Li et al.'s published code runs in
            inference mode, where the moving averages do not follow the parameters.
        radius, points, dimensions, seed: what `measure` does: `points` positions from
            -radius to radius along each of 1 or 2 filter-normalised random directions.

    Raises:
        ValueError: for an argument outside its range, or a model that is not built or
            has nothing to train.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        radius: float = 1.0,
        points: int = 21,
        dimensions: int = 1,
        seed: int = 0,
        training: bool = True,
        jit_compile: bool = False,
    ):
        radius = validation.number("radius", radius, above=0.0)
        points = validation.integer("points", points, minimum=2)
        self._radii = np.linspace(-radius, radius, points)
        self._dimensions = validation.choice("dimensions", dimensions, (1, 2))
        self._seed = validation.integer("seed", seed, minimum=0)
        self._loss = LossFunction(model, loss, training=training)
        self._measure = measurement.compiled(self._all_losses, jit_compile=jit_compile)
        self.cost = measurement.Cost(
            passes=points**dimensions / 3.0, copies=1 + dimensions
        )

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "surface" or "surface_2d" of the step's batch."""
        directions = filter_normalized_directions(
            step.before.parameters, dimensions=self._dimensions, seed=self._seed
        )
        result = self(
            step.before, *step.batch, radii=self._radii, directions=directions
        )
        kind = "surface" if self._dimensions == 1 else "surface_2d"
        return {kind: result.record()}

    def __call__(
        self,
        state: State,
        x: Any,
        y: Any,
        *,
        radii: Sequence[float] | np.ndarray,
        directions: Sequence[Sequence],
    ) -> LossSurface:
        """Measures around `state.parameters`.

        Args:
            state, x, y: a `State`, and the batch as tensors or structures of tensors;
                or a dataset of batches, and None.
            radii: floats, positions along each direction; 0 is the point itself.
            directions: one or two directions, each a list of tensors shaped as
                `state.parameters`, used unchanged; see `filter_normalized_directions`.

        Returns:
            A `LossSurface`.

        Raises:
            ValueError: for radii that are not finite, directions that do not fit the
                parameters, a batch that does not fit, or a loss that is not a scalar.
        """
        places = arguments.finite_numbers("radii", radii)
        directions = like_parameters(directions, state.parameters)
        grids = np.meshgrid(*[places] * len(directions), indexing="ij")
        points = np.stack([g.ravel() for g in grids], axis=-1)
        losses = self._measure(*state, directions, measurement.any_number(points), x, y)
        return LossSurface(places, losses.numpy().reshape(grids[0].shape))

    def _all_losses(self, parameters, buffers, directions, points, x, y):
        """Returns the losses, float64 `[number of points]`."""

        def loss_at(point):
            moved = list(parameters)
            for place, direction in zip(tf.unstack(point), directions, strict=True):
                moved = measurement.plus(moved, place, direction)
            return tf.cast(self._loss(moved, buffers, x, y), tf.float64)

        signature = tf.TensorSpec([], tf.float64)
        return measurement.one_by_one(loss_at, points, signature)


def loss_surface(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    radii: Sequence[float] | np.ndarray,
    dimensions: int = 1,
    seed: int = 0,
    include_vectors: bool = False,
    training: bool = True,
) -> LossSurface:
    """Measures the loss around a model's weights, along filter-normalised directions.

    Args:
        model, loss, training: as in `SurfaceMeter`.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `LossFunction`.
        radii: floats, positions along each direction, such as
            `np.linspace(-1, 1, 25)`.
        dimensions: 1 for a curve (default) or 2 for a surface.
        seed, include_vectors: as in `filter_normalized_directions`.

    Returns:
        A `LossSurface`. Cost: that of `SurfaceMeter`, and a new trace with every call.
        No state changes.

    Raises:
        ValueError: as `SurfaceMeter` and `filter_normalized_directions` do.
    """
    meter = SurfaceMeter(model, loss, training=training)
    x, y = measurement.as_batch(x, y, many=True)
    state = snapshot(model)
    directions = filter_normalized_directions(
        state.parameters,
        dimensions=dimensions,
        seed=seed,
        include_vectors=include_vectors,
    )
    return meter(state, x, y, radii=radii, directions=directions)


def _declaration(name, dimensions, *, title, cost, losses):
    return diagnostic.Diagnostic(
        name=name,
        title=title,
        details="losses",
        cost=cost,
        make=functools.partial(SurfaceMeter, dimensions=dimensions),
        kinds=(
            diagnostic.RecordKind(
                name,
                values={
                    "radii": "positions along a direction, in units of its length",
                    "losses": losses,
                },
                figures={"surface": "loss along one direction, or a map over two"},
            ),
        ),
        options=(
            Option(
                "radius",
                1.0,
                "Surfaces: how far they go, in units of a filter's length.",
                above=0.0,
            ),
            Option("points", 21, "Surfaces: positions along a direction.", minimum=2),
        ),
        arguments=("seed",),
        many_batches=True,
        prefix="surface",
        during_training=False,
    )


SURFACE = _declaration(
    "surface",
    1,
    title="the loss along a random filter-normalised direction",
    cost="a third of a step a point",
    losses="a number for each position",
)

SURFACE_2D = _declaration(
    "surface_2d",
    2,
    title="the loss over two random filter-normalised directions",
    cost="a third of a step a point, of which there are --surface_points squared",
    losses="[n][n], a row for each position along the first direction",
)
