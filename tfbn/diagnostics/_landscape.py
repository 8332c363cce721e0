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

beta, the paper's "effective" smoothness, is the largest change of the gradient over the
distance moved. That the distance is eta |d| and not eta, and that d = -g (a step of
gradient descent), is inferred from the sizes in the paper's figures. Local linearity
is not in the paper: it is the smallest a for which |L(x + u) - L(x) - <g, u>| is at
most a |u|^2 / 2 at all points probed.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot

_DIRECTIONS = ("gradient", "random")


class LayerDistances(NamedTuple):
    """The gradient distances of one layer group.

    Attributes:
        name: str, of the group.
        gradient_distances: float64 array `[n]`, over the group's parameters.
    """

    name: str
    gradient_distances: np.ndarray


class Landscape(NamedTuple):
    """The measurement along one line; arrays are float64 `[n]`, one entry a step size.

    Attributes:
        loss: float, L(x).
        gradient_norm: float, |g| and |d|.
        step_sizes: array, eta; the distance moved is eta |d|.
        losses: array, L(x + eta d).
        gradient_distances: array, |grad L(x + eta d) - g|.
        beta: float, NaN where the gradient is 0.
        local_linearity: float, NaN where the gradient is 0.
        layers: list of `LayerDistances`, in forward order.
    """

    loss: float
    gradient_norm: float
    step_sizes: np.ndarray
    losses: np.ndarray
    gradient_distances: np.ndarray
    beta: float
    local_linearity: float
    layers: list

    def record(self):
        """The values of a "landscape" or "landscape_random" record."""
        values = self._asdict()
        values["layers"] = [layer._asdict() for layer in self.layers]
        for part in (values, *values["layers"]):
            arrays = {k: v for k, v in part.items() if isinstance(v, np.ndarray)}
            part.update({k: v.tolist() for k, v in arrays.items()})
        return values


class LandscapeMeter:
    """Measures the landscape of one model's loss around given parameters.

    Cost: a forward and backward pass at the point and at each step size, one after the
    other; memory is that of a training step and two copies of the parameters, three
    for a random direction. Neither other step sizes, another number of them nor another
    seed trace anew; with `jit_compile` another number compiles anew.

    The model runs on the given batch with the same averages and the same noise at all
    points. No state changes.

    Rounding: with u the unit roundoff of the dtype that the model computes in (6e-8 in
    float32, 4e-3 in bfloat16), differences of losses are uncertain by about
    2 u (|L| + |g| |x|). Local linearity is therefore noise below about
    4 u (|L| + |g| |x|) / (eta |d|)^2, eta being the smallest; and beta below about
    2 u (1 / eta + b |x| / (eta |d|)), b being the beta without noise.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        direction: "gradient" for d = -g (default, the paper's), or "random": Gaussian,
            one scale over all parameters, scaled to |d| = |g|. The paper reports that
            random directions behave similarly and does not say how they are drawn.
        groups: as in `layer_groups`.
        training: bool, whether the model runs in training mode. Default True.
        jit_compile: bool, whether XLA compiles the measurement. Default False.

    Raises:
        ValueError: for an unknown direction, a model that is not built or has nothing
            to train, or a group that names an unknown layer.
    """

    def __init__(
        self,
        model,
        loss,
        *,
        direction="gradient",
        groups=None,
        training=True,
        jit_compile=False,
    ):
        self._direction = validation.choice("direction", direction, _DIRECTIONS)
        self._loss = LossFunction(model, loss, training=training)
        self._groups = layer_groups(model, groups)
        self._probe = measurement.compiled(self._probe_all, jit_compile=jit_compile)

    @property
    def cost(self):
        """`measurement.Cost` of one point: n step sizes take n + 1 times its passes."""
        copies = 3 if self._direction == "random" else 2
        return measurement.Cost(passes=1.0, copies=copies)

    def __call__(self, state, x, y, *, step_sizes, seed=0):
        """Measures at `state`.

        Args:
            state: `State`.
            x, y: the batch, tensors or structures of tensors.
            step_sizes: floats > 0, in any order; see `relative_step_sizes`.
            seed: int >= 0, of a random direction, such as a run's step. The same seed
                gives the same direction, with `jit_compile` perhaps another one.

        Returns:
            A `Landscape`.

        Raises:
            ValueError: for step sizes that are not positive, a seed that is no integer
                >= 0, a batch that does not fit, or a loss that is not a scalar.
        """
        step_sizes = _checked_step_sizes(step_sizes)
        seed = tf.constant(validation.integer("seed", seed, minimum=0), tf.int64)
        # Ragged, as its length is no part of what a trace is for.
        ragged = tf.RaggedTensor.from_row_lengths(step_sizes, [len(step_sizes)])
        point, losses, squares = self._probe(
            state.parameters, state.buffers, ragged, seed, x, y
        )
        return self._result(step_sizes, point.numpy(), losses.numpy(), squares.numpy())

    def _probe_all(self, parameters, buffers, step_sizes, seed, x, y):
        """`[3]` and, a step size, `[n]` and `[n, parameters]`.

        The loss, |g|^2 and <g, d>; the losses; the squared gradient distances.
        """
        loss, gradient = self._loss.value_and_gradients(parameters, buffers, x, y)
        square = measurement.squared_norm(gradient)
        if self._direction == "gradient":
            sign, direction, slope = -1.0, gradient, -square
        else:
            sign, direction = 1.0, _random_direction(gradient, tf.sqrt(square), seed)
            slope = measurement.dot(gradient, direction)

        def probe(step_size):
            point = [
                p + tf.cast(sign * step_size, p.dtype) * d
                for p, d in zip(parameters, direction, strict=True)
            ]
            moved, after = self._loss.value_and_gradients(point, buffers, x, y)
            squares = [
                measurement.squared_norm([a - g])
                for a, g in zip(after, gradient, strict=True)
            ]
            return tf.cast(moved, tf.float64), tf.stack(squares)

        # One after the other, so that one point's activations are alive at a time.
        losses, squares = tf.map_fn(
            probe,
            step_sizes.values,
            parallel_iterations=1,
            fn_output_signature=(
                tf.TensorSpec([], tf.float64),
                tf.TensorSpec([len(parameters)], tf.float64),
            ),
        )
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
    model,
    loss,
    x,
    y,
    *,
    step_sizes,
    direction="gradient",
    seed=0,
    groups=None,
    training=True,
):
    """The loss and its gradient along a line from a model's present parameters.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        x, y: a batch, arrays, tensors or structures of them.
        step_sizes: floats > 0; see `relative_step_sizes`.
        direction: "gradient" (default) or "random"; see `LandscapeMeter`.
        seed: int >= 0, of a random direction. Default 0.
        groups: as in `layer_groups`.
        training: bool, whether the model runs in training mode. Default True.

    Returns:
        A `Landscape`. Cost and rounding: those of `LandscapeMeter`; each call of this
        function traces anew. No state changes.

    Raises:
        ValueError: as `LandscapeMeter` does.
    """
    meter = LandscapeMeter(
        model, loss, direction=direction, groups=groups, training=training
    )
    x, y = measurement.as_batch(x, y)
    return meter(snapshot(model), x, y, step_sizes=step_sizes, seed=seed)


def relative_step_sizes(learning_rate, low=0.5, high=4.0, num=8):
    """`num` step sizes from `low` to `high` learning rates, in geometric spacing.

    Args:
        learning_rate: float > 0.
        low, high: floats, 0 < low < high. Default 1/2 and 4, the paper's for VGG; for
            the deep linear network it has 1/100 and 30.
        num: int >= 2. The paper tells neither number nor spacing. Default 8.

    Returns:
        A float64 array `[num]`, both ends included.

    Raises:
        ValueError: for an argument outside its range.
    """
    learning_rate = validation.number("learning_rate", learning_rate, above=0.0)
    low = validation.number("low", low, above=0.0)
    high = validation.number("high", high, above=low)
    num = validation.integer("num", num, minimum=2)
    validation.memory(8 * num, num=num)
    return learning_rate * np.geomspace(low, high, num)


def _checked_step_sizes(step_sizes):
    """A float64 array `[n]`."""
    try:
        values = np.array(step_sizes, np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if (
        values.ndim != 1
        or not values.size
        or not np.all((values > 0) & (values < np.inf))
    ):
        raise ValueError(
            "step_sizes must be a list of one or more finite numbers greater than 0. "
            f"Received: step_sizes={validation.shown(step_sizes)}."
        )
    return values


def _random_direction(gradient, length, seed):
    """Gaussian tensors like those of `gradient`, together of norm `length`."""
    drawn = [
        tf.random.stateless_normal(tf.shape(g), [seed, i], alg="philox")
        for i, g in enumerate(gradient)
    ]
    scale = length / measurement.norm(drawn)
    return [
        tf.cast(scale, g.dtype) * tf.cast(d, g.dtype)
        for d, g in zip(drawn, gradient, strict=True)
    ]
