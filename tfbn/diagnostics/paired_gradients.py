"""The gradients before and after the update of the preceding layers.

See `covariate_shift`. G' of a group is compared with G as soon as it is known, so that
one of them at a time is in memory.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfbn.diagnostics import measurement
from tfbn.diagnostics import progress
from tfbn.diagnostics._layer_groups import LayerGroup
from tfbn.diagnostics.layer_calls import intercepted
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.shared_calls import SharedCalls
from tfbn.diagnostics.shift_results import products
from tfbn.diagnostics.staged_gradients import StagedGradients


class PairedGradients:
    """The products of G and G' of each group: `[groups, 1 or 2, 4]`, float64.

    They are distance^2, <G, G'>, |G|^2 and |G'|^2, over all parameters of a group, and
    then over its kernels alone.

    Args:
        loss: `LossFunction` of the model.
        groups: its layer groups.
        kernels: bool, whether to compare the gradients of kernels too.
        jit_compile: bool, whether XLA compiles the passes.
    """

    def __init__(
        self,
        loss: LossFunction,
        groups: Sequence[LayerGroup],
        *,
        kernels: bool,
        jit_compile: bool,
    ):
        self._loss, self._groups, self._kernels = loss, groups, kernels
        ranks = [len(v.shape) for v in loss.model.trainable_variables]
        self._kernels_of = [
            [k for k, i in enumerate(group.indices) if ranks[i] > 1] for group in groups
        ]
        self._of_update = measurement.compiled(
            self._paired_gradients, jit_compile=jit_compile
        )
        self._of_sgd = measurement.compiled(
            self._simulated_update, jit_compile=jit_compile
        )
        # On other devices all values would pass through the host.
        staged = not jit_compile and not _has_accelerator()
        self._stages = StagedGradients(loss, groups) if staged else None

    def of_update(
        self, state: State, updated: Sequence[tf.Tensor], x: Any, y: Any
    ) -> np.ndarray:
        """The products for the update from `state.parameters` to `updated`."""
        with measurement.errors_of_the_batch():
            point = self._point(state, x, y)
            if point is not None:
                return self._staged(point, point.gradients(), updated)
        return self._of_update(state.parameters, state.buffers, updated, x, y).numpy()

    def of_sgd(self, state: State, rate: tf.Tensor, x: Any, y: Any) -> np.ndarray:
        """The products for a step of plain SGD, of a float64 learning rate."""
        with measurement.errors_of_the_batch():
            point = self._point(state, x, y)
            if point is not None:
                gradients = point.gradients()
                updated = measurement.plus(state.parameters, -rate, gradients)
                return self._staged(point, gradients, updated)
        return self._of_sgd(state.parameters, state.buffers, rate, x, y).numpy()

    def _point(self, state, x, y):
        """Returns where to take gradients stage by stage, or None: in one graph."""
        return None if self._stages is None else self._stages.at(state, x, y)

    def _staged(self, point, gradients, updated):
        """As `_compare` in one graph does."""
        before = [[gradients[i] for i in group.indices] for group in self._groups]
        rows = [self._row(0, before[0], before[0])]  # G'_1 = G_1
        later = point.after_updates(updated)
        for gradient, after in zip(before[1:], later, strict=True):
            rows.append(self._row(len(rows), gradient, after))
            progress.report(len(rows), len(before))
        return np.stack(rows)

    def _row(self, number, before, after):
        """The products of a group's gradients: `[1 or 2, 4]`, its kernels' second."""
        rows = [products(before, after)]
        if self._kernels:
            part = self._kernels_of[number]
            kernels = [[gradient[k] for k in part] for gradient in (before, after)]
            rows.append(products(*kernels) if part else tf.zeros(4, tf.float64))
        return tf.stack(rows)

    def _simulated_update(self, parameters, buffers, learning_rate, x, y):
        gradients = self._loss.gradients(parameters, buffers, x, y)
        updated = measurement.plus(parameters, -learning_rate, gradients)
        return self._compare(parameters, buffers, updated, gradients, x, y)

    def _paired_gradients(self, parameters, buffers, updated, x, y):
        gradients = self._loss.gradients(parameters, buffers, x, y)
        return self._compare(parameters, buffers, updated, gradients, x, y)

    def _compare(self, parameters, buffers, updated, gradients, x, y):
        """`[groups, 1 or 2, 4]`: distance^2, <G, G'>, |G|^2, |G'|^2; see `_row`."""
        before = [[gradients[i] for i in group.indices] for group in self._groups]
        done = [measurement.squared_norm(gradient) for gradient in before]
        rows = [self._row(0, before[0], before[0])]  # G'_1 = G_1
        calls, spliced = SharedCalls(self._loss.model), {}
        for last, group, gradient in zip(
            self._groups[:-1], self._groups[1:], before[1:], strict=True
        ):
            # Every parameter waits for the previous pass. Those that did not change
            # since then keep their tensors; otherwise nothing could be shared.
            point = measurement.waiting_for(done, parameters)
            updates = measurement.waiting_for(done, [updated[i] for i in last.indices])
            spliced |= dict(zip(last.indices, updates, strict=True))
            point = [spliced.get(i, parameter) for i, parameter in enumerate(point)]
            calls.begin_pass(point)
            with intercepted(self._loss.model, calls):
                after = self._loss.gradients(point, buffers, x, y, group.indices)
            rows.append(self._row(len(rows), gradient, after))
            done = [rows[-1]]
        return tf.stack(rows)


def _has_accelerator():
    return any(d.device_type != "CPU" for d in tf.config.list_logical_devices())
