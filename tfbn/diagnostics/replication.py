"""The estimators of a public replication of Santurkar et al., faults included.

The replication (github.com/mameli/Test_batch_norm_paper) trains VGG-A and plots, for
the kernel of a convolution, |G - G'|, |cos(G, G')| and |g_t + g_{t+1}|. It differs from
the paper (Def. 2.1) in two ways, which are kept here so that its panels can be
reproduced:

* Its G' is not a gradient of the network that G is a gradient of. It belongs to a
  second network, which shares the convolution kernels of the first, updated up to and
  including the measured layer, but has its own biases, classifier and normalisation
  parameters, at their initial values. That alone brings the cosine near 0.
* |g_t + g_{t+1}| is called gradient predictiveness, but grows with the size of the
  gradient alone; what changes from step to step is |g_{t+1} - g_t|.
"""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.options import Option


class ReplicationShift(NamedTuple):
    """The shift of the kernel of one convolution.

    Attributes:
        name: str, of the layer.
        distance: float, |G - G'| of the kernel, G' as the paper defines it.
        cosine: float in [-1, 1], of the angle between them; NaN if one is 0.
        distance_faulty: float, |G - G'| with the replication's G'.
        cosine_faulty: float, with the replication's G'; the replication plots its
            absolute value.
        gradient_sum: float, |g_t + g_{t+1}|, for gradients g of two successive steps.
        gradient_change: float, |g_{t+1} - g_t|.
    """

    name: str
    distance: float
    cosine: float
    distance_faulty: float
    cosine_faulty: float
    gradient_sum: float
    gradient_change: float


class ReplicationMeter(diagnostic.Meter):
    """Measures the replication's estimates beside the right ones.

    Cost: two forward and backward passes, and two for each measured layer, one after
    the other; memory of a training step and three copies of the parameters. The model
    runs in training mode. No state changes. The estimates are of the batches of two
    successive steps, so that a dataset cannot take their place.

    Args:
        model, loss, jit_compile: as in `Diagnostic.meter`.
        other_parameters: list of arrays in the order of `model.trainable_variables`:
            those of the second network, initialised independently.
        layers: names of the groups of `layer_groups` to measure, or None: all that
            have a convolution.

    Raises:
        ValueError: if the model has no convolution, `layers` names a layer without
            one, or the other parameters do not fit.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        other_parameters: Sequence,
        *,
        layers: Iterable[str] | None = None,
        jit_compile: bool = False,
    ):
        self._loss = LossFunction(model, loss)
        self._other = [tf.convert_to_tensor(p) for p in other_parameters]
        self._check_other(model)
        self._groups = layer_groups(model)
        self._kernels = _kernels(model, self._groups)
        names = tuple(self._kernels)
        chosen = {validation.choice("layers", name, names) for name in layers or names}
        self._names = [name for name in names if name in chosen]
        self._measure = measurement.compiled(self._rows, jit_compile=jit_compile)
        passes = 2.0 + 2.0 * len(self._names)
        self.cost = measurement.Cost(passes=passes, copies=3)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "replication" of the step and the next batch."""
        assert step.next_batch is not None  # as `needs` says
        shifts = self(step.before, step.after, step.batch, step.next_batch)
        return {"replication": {"layers": measurement.plain(shifts)}}

    def __call__(
        self,
        before: State,
        after: State,
        batch: diagnostic.Batch,
        next_batch: diagnostic.Batch,
    ) -> list[ReplicationShift]:
        """Measures one step.

        Args:
            before, after: `State` before and after the update.
            batch: `(x, y)` of the step.
            next_batch: `(x, y)` of the step after it.

        Returns:
            A list of `ReplicationShift`, one per layer, in forward order.
        """
        rows = self._measure(*before, *after, batch, next_batch)
        return [
            ReplicationShift(name, *row)
            for name, row in zip(self._names, rows.numpy().tolist(), strict=True)
        ]

    def _rows(self, parameters, buffers, updated, next_buffers, batch, next_batch):
        kernels = [self._kernels[name] for name in self._names]
        (x, y), (next_x, next_y) = batch, next_batch
        gradients = self._loss.gradients(parameters, buffers, x, y, kernels)
        point = measurement.waiting_for(gradients, updated)
        following = self._loss.gradients(point, next_buffers, next_x, next_y, kernels)
        done, rows = following, []
        for name, g, next_g in zip(self._names, gradients, following, strict=True):
            row = []
            for place in (self._spliced, self._second_network):
                point = measurement.waiting_for(done, place(name, parameters, updated))
                kernel = self._kernels[name]
                done = self._loss.gradients(point, buffers, x, y, [kernel])
                row += _compare(g, *done)
            row += [measurement.norm([next_g + g]), measurement.norm([next_g - g])]
            rows.append(tf.stack(row))
        return tf.stack(rows)

    def _spliced(self, name, parameters, updated):
        """Returns the parameters of the paper's G': the preceding layers updated."""
        position = [group.name for group in self._groups].index(name)
        earlier = {i for group in self._groups[:position] for i in group.indices}
        return [
            new if i in earlier else old
            for i, (old, new) in enumerate(zip(parameters, updated, strict=True))
        ]

    def _second_network(self, name, parameters, updated):
        """Returns the parameters of the replication's G'."""
        point = list(self._other)
        for kernel in self._kernels.values():
            is_updated = kernel <= self._kernels[name]
            point[kernel] = updated[kernel] if is_updated else parameters[kernel]
        return point

    def _check_other(self, model):
        own = [tuple(v.shape) for v in model.trainable_variables]
        others = [tuple(p.shape) for p in self._other]
        if own != others:
            raise ValueError(
                "other_parameters must have the shapes of the model's trainable "
                f"variables, {own}. Received: {others}."
            )


def _kernels(model, groups):
    """Returns the index of the convolution kernel of each group that has one."""
    kernels = {}
    for group in groups:
        for i in group.indices:
            if len(model.trainable_variables[i].shape) > 2:
                kernels.setdefault(group.name, i)
    if not kernels:
        raise ValueError(
            "the replication's estimators need a model with convolutions. Received: "
            f"{model.name} without any."
        )
    return kernels


def _compare(g, after):
    cosine = measurement.dot([g], [after]) / (
        measurement.norm([g]) * measurement.norm([after])
    )
    return measurement.norm([after - g]), cosine


def _make(model, loss, *, second_model, convolutions, jit_compile):
    layers = [f"conv{i}" for i in convolutions]
    return ReplicationMeter(
        model,
        loss,
        second_model().trainable_variables,
        layers=layers,
        jit_compile=jit_compile,
    )


DIAGNOSTIC = diagnostic.Diagnostic(
    name="replication",
    title="a public replication's estimators",
    details="faults included, beside the right ones",
    cost="two steps a convolution, and two",
    make=_make,
    kinds=(
        diagnostic.RecordKind(
            "replication",
            layer_values={
                "distance": "|G - G'|_2 of the kernel",
                "cosine": "of G and G'",
                "distance_faulty": "with a G' of another function",
                "cosine_faulty": "with a G' of another function",
                "gradient_sum": "|g_t + g_{t+1}|_2",
                "gradient_change": "|g_{t+1} - g_t|_2",
            },
            figures={
                "replication": "a public replication's estimators beside the right ones"
            },
            divergence="distance",
        ),
    ),
    options=(
        Option(
            "convolutions",
            (5,),
            "Replication: the convolutions measured, from 1 on.",
            minimum=1,
        ),
    ),
    needs=frozenset(
        {
            Need.LOSS,
            Need.TRAINING_MODE,
            Need.UPDATE,
            Need.NEXT_BATCH,
            Need.SECOND_MODEL,
        }
    ),
)
