"""Internal covariate shift (Santurkar et al. 2018, arXiv 1805.11604, Def. 2.1).

For layer i of k with parameters W_i, an update W -> W' and a batch (x, y):

```
G_i  = dL/dW_i (W_1,  ..., W_{i-1},  W_i, ..., W_k; x, y)
G'_i = dL/dW_i (W'_1, ..., W'_{i-1}, W_i, ..., W_k; x, y)
```

The internal covariate shift of layer i is |G_i - G'_i|: how far the update of the
layers before it changes the gradient that it steps along. G'_1 = G_1.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.layer_calls import intercepted
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.shared_calls import SharedCalls


class CovariateShift(NamedTuple):
    """The measurement of one layer group.

    Attributes:
        name: str, of the group.
        distance: float, |G - G'|, the l2 norm over all of the group's parameters.
        cosine: float in [-1, 1], of the angle between G and G'; NaN if one is 0.
        norm: float, |G|.
        norm_after: float, |G'|.
    """

    name: str
    distance: float
    cosine: float
    norm: float
    norm_after: float


class CovariateShiftMeter:
    """Measures the internal covariate shift of updates of one model.

    Cost of a measurement: with k groups, one forward and backward pass for G, one
    forward pass of the updated layers, and for each group but the first a forward and
    backward pass of the layers from it on; with G, 0.35 to 0.45 of a whole pass a
    group. They run one after the other: their tensors take the memory of a training
    step, the updated parameters and a copy of the gradient. The first call traces the
    graph of all of them, which is kept: with the 54 groups of a ResNet50V2 that took
    two minutes, and measuring 2 GiB more than training. Fewer, larger `groups` take
    less of both.

    The model runs on the given batch, G and G' with the same averages and the same
    noise. No state changes.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        groups: as in `layer_groups`.
        training: bool, whether the model runs in training mode. Default True.
        jit_compile: bool, whether XLA compiles the measurement. Default False.
    """

    def __init__(self, model, loss, *, groups=None, training=True, jit_compile=False):
        self._model = model
        self._loss = LossFunction(model, loss, training=training)
        self._groups = layer_groups(model, groups)
        self._of_update = measurement.compiled(
            self._paired_gradients, jit_compile=jit_compile
        )
        self._of_sgd = measurement.compiled(
            self._simulated_update, jit_compile=jit_compile
        )

    @property
    def cost(self):
        """`measurement.Cost`; the passes as if all layers took the same time."""
        k = len(self._groups)
        return measurement.Cost(passes=1.0 + 1.0 / 3.0 + (k - 1) / 3.0, copies=2)

    def __call__(self, state, updated_parameters, x, y):
        """Measures the update from `state.parameters` to `updated_parameters`.

        Args:
            state: `State` before the update.
            updated_parameters: list of tensors in the order of
                `model.trainable_variables`.
            x, y: the batch, tensors or structures of tensors.

        Returns:
            A list of `CovariateShift`, one a group, in forward order.

        Raises:
            ValueError: if the batch does not fit, or the loss is not a scalar.
        """
        rows = self._of_update(
            state.parameters, state.buffers, updated_parameters, x, y
        )
        return self._results(rows)

    def simulated(self, state, x, y, *, learning_rate):
        """Measures the update of a step of SGD on the same batch; see a call.

        Args:
            state, x, y: as in a call.
            learning_rate: float, of the step.
        """
        rate = tf.constant(learning_rate, tf.float64)
        return self._results(self._of_sgd(state.parameters, state.buffers, rate, x, y))

    def _results(self, rows):
        return [
            _result(group.name, *row)
            for group, row in zip(self._groups, rows.numpy().tolist(), strict=True)
        ]

    def _simulated_update(self, parameters, buffers, learning_rate, x, y):
        gradients = self._loss.gradients(parameters, buffers, x, y)
        updated = [
            p - tf.cast(learning_rate, p.dtype) * g
            for p, g in zip(parameters, gradients, strict=True)
        ]
        return self._compare(parameters, buffers, updated, gradients, x, y)

    def _paired_gradients(self, parameters, buffers, updated, x, y):
        gradients = self._loss.gradients(parameters, buffers, x, y)
        return self._compare(parameters, buffers, updated, gradients, x, y)

    def _compare(self, parameters, buffers, updated, gradients, x, y):
        """`[groups, 4]`: distance^2, <G, G'>, |G|^2, |G'|^2."""
        before = [[gradients[i] for i in group.indices] for group in self._groups]
        done = [measurement.squared_norm(gradient) for gradient in before]
        rows = [_products(before[0], before[0])]  # G'_1 = G_1
        calls, spliced = SharedCalls(self._model), {}
        for last, group, gradient in zip(
            self._groups[:-1], self._groups[1:], before[1:], strict=True
        ):
            # Each parameter waits for the pass before, those that are the same as in
            # that pass excepted, or nothing could be shared.
            point = measurement.waiting_for(done, parameters)
            updates = measurement.waiting_for(done, [updated[i] for i in last.indices])
            spliced |= dict(zip(last.indices, updates, strict=True))
            point = [spliced.get(i, parameter) for i, parameter in enumerate(point)]
            calls.begin_pass(point)
            with intercepted(self._model, calls):
                after = self._loss.gradients(point, buffers, x, y, group.indices)
            rows.append(_products(gradient, after))
            done = [rows[-1]]
        return tf.stack(rows)


def internal_covariate_shift(
    model, loss, x, y, *, learning_rate, groups=None, training=True
):
    """The internal covariate shift that one SGD step would cause, layer by layer.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        x, y: a batch, arrays, tensors or structures of them.
        learning_rate: float > 0, of the simulated step.
        groups: as in `layer_groups`.
        training: bool, whether the model runs in training mode. Default True.

    Returns:
        A list of `CovariateShift`, one a group, in forward order. Cost: that of
        `CovariateShiftMeter`; each call of this function traces anew. No state changes.

    Raises:
        ValueError: for a learning rate that is not positive, a model without trainable
            variables, a group that names an unknown layer, a batch that does not fit,
            or a loss that is not a scalar.
    """
    learning_rate = validation.number("learning_rate", learning_rate, above=0.0)
    meter = CovariateShiftMeter(model, loss, groups=groups, training=training)
    x, y = measurement.as_batch(x, y)
    return meter.simulated(snapshot(model), x, y, learning_rate=learning_rate)


def total_shift(shifts, name="all parameters"):
    """The `CovariateShift` over the parameters of all groups together."""
    norms = [shift[1:] for shift in shifts]
    distances, cosines, before, after = np.array(norms, np.float64).T
    lengths = before * after
    products = np.where(lengths == 0.0, 0.0, cosines * lengths)
    squares = [np.sum(np.square(v)) for v in (distances, before, after)]
    return _result(name, squares[0], np.sum(products), *squares[1:])


def _products(before, after):
    """What `_result` needs of two lists of tensors, `[4]` in float64."""
    differences = [a - b for a, b in zip(after, before, strict=True)]
    return tf.stack(
        [
            measurement.squared_norm(differences),
            measurement.dot(after, before),
            measurement.squared_norm(before),
            measurement.squared_norm(after),
        ]
    )


def _result(name, squared_distance, product, squared_norm, squared_norm_after):
    distance, norm, norm_after = np.sqrt(
        [squared_distance, squared_norm, squared_norm_after]
    ).tolist()
    length = norm * norm_after
    cosine = product / length if length else np.nan
    return CovariateShift(
        name, distance, float(np.clip(cosine, -1.0, 1.0)), norm, norm_after
    )
