"""Internal covariate shift (Santurkar et al. 2018, arXiv 1805.11604, Def. 2.1).

For layer i of k with parameters W_i, an update W -> W' and a batch (x, y):

```
G_i  = dL/dW_i (W_1,  ..., W_{i-1},  W_i, ..., W_k; x, y)
G'_i = dL/dW_i (W'_1, ..., W'_{i-1}, W_i, ..., W_k; x, y)
```

The internal covariate shift of layer i is |G_i - G'_i|: how much the update of the
preceding layers changes the gradient that layer i steps along. G'_1 = G_1.
"""

from typing import Any

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import Groups
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.paired_gradients import PairedGradients
from tfbn.diagnostics.shift_results import CovariateShift
from tfbn.diagnostics.shift_results import shift
from tfbn.diagnostics.shift_results import total_shift
from tfbn.options import Option

_UPDATES = ("optimizer", "sgd")


class CovariateShiftMeter(diagnostic.Meter):
    """Measures the internal covariate shift of updates of one model.

    Cost of a measurement with k groups: one forward and backward pass for G, one
    forward pass through the updated layers, and for each group but the first a forward
    and backward pass through the layers from that group on. The passes run one after
    the other: they take the memory of a training step, plus the updated parameters and
    a copy of the gradient.

    On CPUs the first call traces one pass, of which TensorFlow then runs the parts that
    each group needs. On other devices, with `jit_compile`, and for a loss that reads
    variables other than the model's, it traces one graph with all passes and keeps it:
    minutes, and several times the memory of training, for a network of fifty groups.
    Fewer, larger `groups` reduce both.

    The model runs on the given batch; G and G' use the same moving averages and the
    same noise. No state changes.

    Args:
        model, loss, training, jit_compile: as in `Diagnostic.meter`.
        update: the update that `measure` uses: "optimizer" (default), the one that
            training made, or "sgd", a step of plain SGD on the batch.
        kernels: bool, whether `measure` also compares the gradients of each group's
            kernels alone. The paper does not say where biases, gamma and beta belong,
            nor whether they count. No other cost. Default False.
        groups: as in `layer_groups`.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        update: str = "optimizer",
        kernels: bool = False,
        groups: Groups = None,
        training: bool = True,
        jit_compile: bool = False,
    ):
        self._update = validation.choice("update", update, _UPDATES)
        loss_function = LossFunction(model, loss, training=training)
        self._groups = layer_groups(model, groups)
        self._kernels = validation.boolean("kernels", kernels)
        self._gradients = PairedGradients(
            loss_function, self._groups, kernels=self._kernels, jit_compile=jit_compile
        )
        # Assumes that all layers take the same time.
        k = len(self._groups)
        self.cost = measurement.Cost(passes=1.0 + 1.0 / 3.0 + (k - 1) / 3.0, copies=2)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "ics" of the step's batch."""
        if self._update == "sgd":
            rate = tf.constant(step.learning_rate, tf.float64)
            rows = self._gradients.of_sgd(step.before, rate, *step.batch)
        else:
            updated = step.after.parameters
            rows = self._gradients.of_update(step.before, updated, *step.batch)
        shifts = self._results(rows)
        total = total_shift(shifts)._asdict()
        total.pop("name")
        layers = measurement.plain(shifts)
        if self._kernels:
            for layer, kernel in zip(layers, self._results(rows, part=1), strict=True):
                layer |= {f"kernel_{name}": getattr(kernel, name) for name in _VALUES}
        return {"ics": {"layers": layers, "total": total}}

    def __call__(
        self, state: State, updated_parameters: list, x: Any, y: Any
    ) -> list[CovariateShift]:
        """Measures the update from `state.parameters` to `updated_parameters`.

        Args:
            state: `State` before the update.
            updated_parameters: list of tensors in the order of
                `model.trainable_variables`.
            x, y: the batch, tensors or structures of tensors; or a dataset of batches,
                and None.

        Returns:
            A list of `CovariateShift`, one per group, in forward order.

        Raises:
            ValueError: if the batch does not fit, or the loss is not a scalar.
        """
        rows = self._gradients.of_update(state, updated_parameters, x, y)
        return self._results(rows)

    def simulated(
        self, state: State, x: Any, y: Any, *, learning_rate: float
    ) -> list[CovariateShift]:
        """Measures the update that a step of SGD on the same batch would make.

        Args:
            state, x, y: as in `__call__`.
            learning_rate: float, of the SGD step.

        Returns:
            As `__call__`.
        """
        rate = tf.constant(learning_rate, tf.float64)
        return self._results(self._gradients.of_sgd(state, rate, x, y))

    def _results(self, rows, part=0):
        return [
            shift(group.name, *row[part])
            for group, row in zip(self._groups, rows.tolist(), strict=True)
        ]


def internal_covariate_shift(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    learning_rate: float,
    groups: Groups = None,
    training: bool = True,
) -> list[CovariateShift]:
    """Measures the internal covariate shift that one SGD step would cause.

    Args:
        model, loss, groups, training: as in `CovariateShiftMeter`.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `LossFunction`.
        learning_rate: float > 0, of the simulated step.

    Returns:
        A list of `CovariateShift`, one per group, in forward order. Cost: that of
        `CovariateShiftMeter`, and a new trace with every call. No state changes.

    Raises:
        ValueError: for a learning rate that is not positive, a model without trainable
            variables, a group that names an unknown layer, a batch that does not fit,
            or a loss that is not a scalar.
    """
    learning_rate = validation.number("learning_rate", learning_rate, above=0.0)
    meter = CovariateShiftMeter(model, loss, groups=groups, training=training)
    x, y = measurement.as_batch(x, y, many=True)
    return meter.simulated(snapshot(model), x, y, learning_rate=learning_rate)


_VALUES = {
    "distance": "|G - G'|_2",
    "cosine": "of G and G'",
    "norm": "|G|_2",
    "norm_after": "|G'|_2",
}
_KERNEL_VALUES = {
    f"kernel_{name}": f"{meaning}, with `kernels`" for name, meaning in _VALUES.items()
}

DIAGNOSTIC = diagnostic.Diagnostic(
    name="ics",
    title="internal covariate shift",
    details="G and G' of every layer",
    cost="about 0.4 steps a layer, G included",
    make=CovariateShiftMeter,
    kinds=(
        diagnostic.RecordKind(
            "ics",
            values={
                "total": f"{', '.join(_VALUES)}, over all parameters",
            },
            layer_values=_VALUES | _KERNEL_VALUES,
            optional=frozenset(_KERNEL_VALUES),
            figures={
                "covariate_shift": "Santurkar et al. 2018, Fig. 3: paired gradients, "
                "by layer"
            },
            layer_columns={
                "|G|": "norm",
                "|G - G'|": "distance",
                "cos(G, G')": "cosine",
            },
            divergence="distance",
        ),
    ),
    options=(
        Option(
            "update",
            "optimizer",
            "Update that the covariate shift is of: the optimizer's, or that of a "
            "step of plain SGD.",
            choices=_UPDATES,
        ),
        Option(
            "kernels",
            False,
            "Covariate shift also of each layer's kernel alone, without biases, gamma "
            "and beta.",
        ),
    ),
    arguments=("groups",),
    needs=frozenset({diagnostic.Need.LOSS, diagnostic.Need.UPDATE}),
    many_batches=True,
)
