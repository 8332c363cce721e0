"""The loss landscape along a line.

After Santurkar et al. 2018 (arXiv 1805.11604), Figure 4 and App. A.2.2. At parameters x
with loss L(x) and gradient g, along a direction d of length |g|, for each step size eta
of a range:

```
losses             L(x + eta d)
gradient distances |grad L(x + eta d) - g|               "gradient predictiveness"
beta               max over eta of |grad L(x + eta d) - g| / (eta |d|)
local linearity    max over eta of 2 |L(x + eta d) - L(x) - eta <g, d>| / (eta |d|)^2
```

beta, the paper's "effective" smoothness, is the largest ratio of the change of the
gradient to the distance moved. That this distance is eta |d| rather than eta, and that
d = -g (a step of gradient descent), is not stated in the paper; inferred from the sizes
in its figures. Local linearity is not in the paper: it is the smallest a for which
|L(x + u) - L(x) - <g, u>| is at most a |u|^2 / 2 at all points measured.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import arguments
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import Groups
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.directions import gaussian_direction
from tfbn.diagnostics.landscape_results import Landscape
from tfbn.diagnostics.landscape_results import LayerDistances
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.step_sizes import relative_step_sizes
from tfbn.options import Option

Numbers = Sequence[float] | np.ndarray

_KINDS = {"gradient": "landscape", "random": "landscape_random"}


class LandscapeMeter(diagnostic.Meter):
    """Measures the landscape of one model's loss along a line.

    Cost: a forward and backward pass at the point itself and at each step size, one
    after the other; memory of a training step and two copies of the parameters, three
    for a random direction. Other step sizes, another number of them and another seed
    do not retrace; with `jit_compile` another number of step sizes compiles anew.

    At all points the model runs on the given batch, with the same moving averages and
    the same noise. No state changes.

    Rounding: with u the unit roundoff of the dtype that the model computes in (6e-8 in
    float32, 4e-3 in bfloat16), differences of losses are uncertain by about
    2 u (|L| + |g| |x|). Local linearity is therefore noise below about
    4 u (|L| + |g| |x|) / (eta |d|)^2, with eta the smallest step size, and beta below
    about 2 u (1 / eta + b |x| / (eta |d|)), with b the beta without noise.

    Args:
        model, loss, training, jit_compile: as in `Diagnostic.meter`.
        direction: "gradient" for d = -g (default, the paper's), or "random": Gaussian,
            one scale over all parameters, scaled to |d| = |g|. The paper reports that
            random directions behave similarly and does not state how they are drawn.
        low, high, points: the step sizes of `measure`, as in `relative_step_sizes`.
        groups: as in `layer_groups`.

    Raises:
        ValueError: for an unknown direction, a model that is not built or has nothing
            to train, or a group that names an unknown layer.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        direction: str = "gradient",
        low: float = 0.5,
        high: float = 4.0,
        points: int = 8,
        groups: Groups = None,
        training: bool = True,
        jit_compile: bool = False,
    ):
        self._direction = validation.choice("direction", direction, tuple(_KINDS))
        self._range = (low, high, points)
        relative_step_sizes(1.0, *self._range)  # raises if one of them is wrong
        self._loss = LossFunction(model, loss, training=training)
        self._groups = layer_groups(model, groups)
        self._probe = measurement.compiled(self._probe_all, jit_compile=jit_compile)
        copies = 3 if direction == "random" else 2
        self.cost = measurement.Cost(passes=points + 1.0, copies=copies)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record of the step's batch, or none if its learning rate is 0.

        Each step has a random direction of its own.
        """
        rate = step.learning_rate
        if rate == 0.0:
            return {}
        sizes = relative_step_sizes(rate, *self._range)
        result = self(step.before, *step.batch, step_sizes=sizes, seed=step.step)
        return {_KINDS[self._direction]: {"learning_rate": rate, **result.record()}}

    def __call__(
        self,
        state: State,
        x: Any,
        y: Any,
        *,
        step_sizes: Numbers,
        seed: int = 0,
    ) -> Landscape:
        """Measures at `state`.

        Args:
            state, x, y: a `State`, and the batch as tensors or structures of tensors;
                or a dataset of batches, and None.
            step_sizes: floats > 0, in any order; see `relative_step_sizes`.
            seed: int >= 0, of a random direction, such as a run's step. A seed gives
                one direction, which `jit_compile` may change.

        Returns:
            A `Landscape`.

        Raises:
            ValueError: for step sizes that are not positive, a seed that is no integer
                >= 0, a batch that does not fit, or a loss that is not a scalar.
        """
        sizes = arguments.finite_numbers("step_sizes", step_sizes, positive=True)
        seed = tf.constant(validation.integer("seed", seed, minimum=0), tf.int64)
        rows = self._probe(*state, measurement.any_number(sizes), seed, x, y)
        return self._result(sizes, *(row.numpy() for row in rows))

    def _probe_all(self, parameters, buffers, step_sizes, seed, x, y):
        """Returns `(point [3], losses [n], squares [n, parameters])`.

        `point` holds the loss, |g|^2 and <g, d>; `squares` the squared distances of the
        gradients, parameter by parameter.
        """
        loss, gradient = self._loss.value_and_gradients(parameters, buffers, x, y)
        square = measurement.squared_norm(gradient)
        if self._direction == "gradient":
            sign, direction, slope = -1.0, gradient, -square
        else:
            sign, direction = 1.0, gaussian_direction(gradient, tf.sqrt(square), seed)
            slope = measurement.dot(gradient, direction)

        def probe(step_size):
            point = measurement.plus(parameters, sign * step_size, direction)
            moved, after = self._loss.value_and_gradients(point, buffers, x, y)
            squares = [
                measurement.squared_norm([a - g])
                for a, g in zip(after, gradient, strict=True)
            ]
            return tf.cast(moved, tf.float64), tf.stack(squares)

        signature = (
            tf.TensorSpec([], tf.float64),
            tf.TensorSpec([len(parameters)], tf.float64),
        )
        losses, squares = measurement.one_by_one(probe, step_sizes, signature)
        return tf.stack([tf.cast(loss, tf.float64), square, slope]), losses, squares

    def _result(self, step_sizes, point, losses, squares):
        loss, square, slope = point.tolist()
        length = np.sqrt(square)
        moved = step_sizes * length
        with np.errstate(all="ignore"):  # losses may be infinite, gradients 0
            distances = np.sqrt(squares.sum(axis=1))
            beta = np.max(distances / moved)
            excess = np.abs(losses - loss - step_sizes * slope)
            local_linearity = np.max(2.0 * excess / moved**2)
        return Landscape(
            loss=loss,
            gradient_norm=float(length),
            step_sizes=step_sizes,
            losses=losses,
            gradient_distances=distances,
            beta=float(beta),
            local_linearity=float(local_linearity),
            layers=[
                LayerDistances(g.name, np.sqrt(squares[:, g.indices].sum(axis=1)))
                for g in self._groups
            ],
        )


def landscape(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    step_sizes: Numbers,
    direction: str = "gradient",
    seed: int = 0,
    groups: Groups = None,
    training: bool = True,
) -> Landscape:
    """Measures the loss and its gradient along a line from a model's present weights.

    Args:
        model, loss, direction, groups, training: as in `LandscapeMeter`.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `LossFunction`.
        step_sizes: floats > 0; see `relative_step_sizes`.
        seed: int >= 0, of a random direction. Default 0.

    Returns:
        A `Landscape`. Cost and rounding: those of `LandscapeMeter`, and a new trace
        with every call. No state changes.

    Raises:
        ValueError: as `LandscapeMeter` does.
    """
    meter = LandscapeMeter(
        model, loss, direction=direction, groups=groups, training=training
    )
    x, y = measurement.as_batch(x, y, many=True)
    return meter(snapshot(model), x, y, step_sizes=step_sizes, seed=seed)


def _make(model, loss, *, directions, **options):
    chosen = tuple(_KINDS) if directions == "both" else (directions,)
    return diagnostic.MeterGroup(
        LandscapeMeter(model, loss, direction=d, **options) for d in chosen
    )


def _kind(name, figure, of="", divergence=None):
    return diagnostic.RecordKind(
        name,
        values={
            "learning_rate": "of the step",
            "loss": "at the point itself",
            "gradient_norm": "|g|_2 there",
            "step_sizes": "eta, a list",
            "losses": "a number for each step size",
            "gradient_distances": "|g' - g|_2, a number for each step size",
            "beta": "effective smoothness",
            "local_linearity": "the smallest a with |dL - <g, u>| <= a |u|^2 / 2",
        },
        layer_values={"gradient_distances": "as above, over the layer's parameters"},
        figures={name: figure},
        totals={
            **({} if of else {"loss": "loss", "gradient norm": "gradient_norm"}),
            f"effective beta{of}": "beta",
            f"local linearity{of}": "local_linearity",
        },
        divergence=divergence,
        without_bands=("step_sizes",),
    )


DIAGNOSTIC = diagnostic.Diagnostic(
    name="landscape",
    title="the loss landscape along the gradient",
    details="loss range, gradient predictiveness, effective beta, local linearity",
    cost="--landscape_points + 1 steps",
    make=_make,
    kinds=(
        _kind(
            "landscape",
            "the same, Fig. 4: loss range, gradient predictiveness, effective beta; "
            "and local linearity",
            divergence="loss",
        ),
        _kind(
            "landscape_random",
            "the same along a random direction",
            of=", random direction",
        ),
    ),
    options=(
        Option("low", 0.5, "Landscape: least step size, in learning rates.", above=0.0),
        Option(
            "high", 4.0, "Landscape: largest step size, in learning rates.", above=0.0
        ),
        Option(
            "points",
            8,
            "Landscape: number of step sizes, in geometric spacing.",
            minimum=2,
        ),
        Option(
            "directions",
            "gradient",
            "Landscape: down the gradient, along random directions of its length, or "
            "both.",
            choices=("gradient", "random", "both"),
        ),
    ),
    rising=(("low", "high"),),
    arguments=("groups",),
    many_batches=True,
    needs=frozenset({Need.LOSS, Need.LEARNING_RATE}),
)
