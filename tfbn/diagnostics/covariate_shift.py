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

import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics.layer_groups import layer_groups
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot


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
    """Measures the internal covariate shift of given updates of one model.

    Cost of a measurement with k groups: k + 1 forward passes and backward passes, one
    after the other, the i-th down to layer i; in memory a training step, and one copy
    of the gradient. The first call traces the graph of all of them.

    The model runs in training mode on the given batch, G and G' with the same averages
    and the same noise. No state changes.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        groups: as in `layer_groups`.
    """

    def __init__(self, model, loss, *, groups=None):
        self._groups = layer_groups(model, groups)
        self._gradients = tf.function(
            LossFunction(model, loss).gradients, autograph=False, reduce_retracing=True
        )
        self._measure = tf.function(
            self._paired_gradients, autograph=False, reduce_retracing=True
        )

    def __call__(self, state, updated_parameters, x, y):
        """Measures the update from `state.parameters` to `updated_parameters`.

        Args:
            state: `State` before the update.
            updated_parameters: list of tensors in the order of
                `model.trainable_variables`.
            x, y: the batch, tensors.

        Returns:
            A list of `CovariateShift`, one a group, in forward order.
        """
        rows = self._measure(state.parameters, state.buffers, updated_parameters, x, y)
        return [
            CovariateShift(group.name, *row)
            for group, row in zip(self._groups, rows.numpy().tolist(), strict=True)
        ]

    def _paired_gradients(self, parameters, buffers, updated, x, y):
        """`[groups, 4]`: distance, cosine, |G|, |G'|."""
        gradients = self._gradients(parameters, buffers, x, y)
        spliced, rows, done = list(parameters), [], [tf.add_n(_squares(gradients))]
        for group in self._groups:
            # One after the other, so that one pass's activations are alive at a time.
            # Gradients that are not used here are pruned when the call is inlined.
            with tf.control_dependencies(done):
                after = self._gradients(spliced, buffers, x, y)
            before = [gradients[i] for i in group.indices]
            rows.append(_compare(before, [after[i] for i in group.indices]))
            done = [rows[-1]]
            for i in group.indices:
                spliced[i] = updated[i]
        return tf.stack(rows)


def internal_covariate_shift(model, loss, x, y, *, learning_rate, groups=None):
    """The internal covariate shift that one SGD step would cause, layer by layer.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        x, y: a batch.
        learning_rate: float > 0, of the simulated step.
        groups: as in `layer_groups`.

    Returns:
        A list of `CovariateShift`, one a group, in forward order. Cost: that of
        `CovariateShiftMeter` and one more forward and backward pass; each call of this
        function traces anew. No state changes.

    Raises:
        ValueError: for a learning rate that is not positive, a model without trainable
            variables, or a group that names an unknown layer.
    """
    learning_rate = validation.number("learning_rate", learning_rate, above=0.0)
    meter = CovariateShiftMeter(model, loss, groups=groups)
    x, y = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
    state = snapshot(model)
    gradients = LossFunction(model, loss).gradients(*state, x, y)
    updated = [
        p - tf.cast(learning_rate, p.dtype) * g
        for p, g in zip(state.parameters, gradients, strict=True)
    ]
    return meter(state, updated, x, y)


def _compare(before, after):
    """`[distance, cosine, |G|, |G'|]` of two lists of tensors."""
    differences = [a - b for a, b in zip(after, before, strict=True)]
    products = [_sum(a * b) for a, b in zip(after, before, strict=True)]
    norm, norm_after = _norm(before), _norm(after)
    cosine = tf.add_n(products) / (norm * norm_after)
    return tf.stack(
        [_norm(differences), tf.clip_by_value(cosine, -1.0, 1.0), norm, norm_after]
    )


def _squares(tensors):
    return [_sum(tf.square(t)) for t in tensors]


def _sum(x):
    # Parameters may differ in dtype; the scalars cost nothing in float64.
    return tf.cast(tf.reduce_sum(x), tf.float64)


def _norm(tensors):
    return tf.sqrt(tf.add_n(_squares(tensors)))
