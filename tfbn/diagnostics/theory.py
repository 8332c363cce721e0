"""Theorem 4.1 of Santurkar et al. 2018 (arXiv 1805.11604), checked on live layers.

For one channel of a batch-normalisation layer with m elements (batch and space):
z = gamma * yh + beta, yh = (y - mean y) / s, s = sqrt(var y + epsilon), g = dL/dz and
G = dL/dy. Fact C.1 of the paper, which holds for any epsilon:

```
G = (gamma / s) * (g - <1, g> / m - yh * <g, yh> / m)
```

It follows that, with q = |yh|^2 / m = var y / (var y + epsilon):

```
<1, G> = 0           <yh, G> = (gamma / s) * (1 - q) * <g, yh>
|G|^2 = (gamma / s)^2 * (|g|^2 - <1, g>^2 / m - (2 - q) * <g, yh>^2 / m)   (Theorem 4.1)
dL/dgamma = <g, yh>                        dL/dbeta = <1, g>
<W, dL/dW> = sum over channels of gamma * (1 - q) * <g, yh>
```

where W holds all weights of the preceding linear layer: its scale has no influence
(Lemma 4.5), except through epsilon. The paper has epsilon = 0, so q = 1, and states "at
most" where equality holds. Version 3 prints 1 / sqrt(m) instead of 1 / m before
<g, yh>^2: the last step of the proof drops a sqrt(m), and the printed bound is violated
wherever <g, yh> is not 0.
"""

from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import gradient_formulas
from tfbn.diagnostics import layer_calls
from tfbn.diagnostics import measurement
from tfbn.diagnostics import norm_calls
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot


class GradientIdentities(NamedTuple):
    """The result for one layer. Errors are the largest over its channels.

    All errors and residuals are relative, and of the size of rounding errors if the
    layer's derivative is right: about 1e-6 in float32, 1e-2 in bfloat16. "Upstream" is
    |(gamma / s) g|, the value of |G| if mean and variance were constants.

    Attributes:
        name: str, the layer's.
        upstream: float, over all channels.
        norm: float, |G| over all channels.
        bound: float, the square root of Theorem 4.1's right-hand side, as corrected.
        printed_bound: float, the root of the right-hand side as printed, with
            1 / sqrt(m); minus the root of its size where it is negative, a bound that
            no |G|^2 satisfies.
        relative_error: float, of Theorem 4.1: the difference of its two sides, relative
            to upstream^2.
        gradient_error: float, of Fact C.1: |G - its right-hand side| / upstream.
        channel_violations: float, the number of channels whose |G|^2 exceeds the
            printed bound by more than rounding errors.
        sum_residual: float, |<1, G>| / (sqrt(m) * upstream).
        projection: float, |<yh, G>| / (|yh| * upstream): not 0 because of epsilon.
        projection_residual: float, its difference from what epsilon explains.
        gamma_error: float, of dL/dgamma, relative to |g| |yh|; None without a gamma.
        beta_error: float, of dL/dbeta, relative to sqrt(m) |g|; None without a beta.
        invariance: float, |<W, dL/dW>| / (|y| * upstream), for kernel and bias of the
            linear layer that y is the output of; None if there is none.
        invariance_residual: float, its difference from what epsilon explains, or None.
    """

    name: str
    upstream: float
    norm: float
    bound: float
    printed_bound: float
    relative_error: float
    gradient_error: float
    channel_violations: float
    sum_residual: float
    projection: float
    projection_residual: float
    gamma_error: float | None
    beta_error: float | None
    invariance: float | None
    invariance_residual: float | None

    def record(self) -> dict[str, Any]:
        """Returns one of the `layers` of a "theory" record."""
        return self._asdict()


class GradientIdentityMeter(diagnostic.Meter):
    """Checks Theorem 4.1 and its identities in the layers of one model.

    y, z, g and G of each layer come from a training pass of the model itself; G is
    compared with the formulas for y and g, in float64. g and G belong to the
    normalisation alone: other uses of y do not count, and z of a `NoisyBatchNorm` is
    what the noise is added to.

    It checks `tfbn.BatchNorm`, `tfbn.NoisyBatchNorm`, Keras's `BatchNormalization` and
    subclasses of it that promise the same function. It does not check renormalisation,
    l_p norms, virtual batches, statistics over replicas or frozen layers, nor calls
    with a mask, in inference mode or inside a loop. The identities are those of one
    batch, whose statistics they contain: of several batches, check each.

    Cost: about two forward and backward passes; memory of a training step, and float64
    copies of a layer's activations. No state changes.

    Args:
        model, loss, jit_compile: as in `Diagnostic.meter`.
        layers: list of str, the names of the layers to check, or their paths in the
            model ("block1/norm"). Default None: all for which the theorem holds.

    Raises:
        ValueError: for a name that no layer has, or a layer for which the theorem does
            not hold.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        layers: Iterable[str] | None = None,
        jit_compile: bool = False,
    ):
        self._loss = LossFunction(model, loss)
        self._names = norm_calls.chosen_layers(model, layers)
        self._required = layers is not None
        self._check = measurement.compiled(self._identities, jit_compile=jit_compile)
        self.cost = measurement.Cost(passes=2.0, copies=0)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "theory" of the step's batch, before the update."""
        results = self(step.before, *step.batch)
        return {"theory": {"layers": [result.record() for result in results]}}

    def __call__(self, state: State, x: Any, y: Any) -> list[GradientIdentities]:
        """Checks at `state`.

        Args:
            state, x, y: a `State`, and the batch as tensors or structures of tensors.

        Returns:
            A list of `GradientIdentities`, one per layer, in the order of their calls.
            The second call of a layer is named "NAME#2".

        Raises:
            ValueError: if a layer given by name is not called, or only with a mask or
                in inference mode; for a batch that does not fit.
        """
        rows = self._check(*state, x, y)
        return [
            GradientIdentities(name, **{k: _plain(v) for k, v in row.items()})
            for name, row in rows.items()
        ]

    def _identities(self, parameters, buffers, x, y):
        """Returns a dict of dicts of scalars: layer, then attribute."""
        model = self._loss.model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        values = dict(zip(map(id, variables), [*parameters, *buffers], strict=True))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            capture = norm_calls.NormCapture(self._names, values, tape)
            with layer_calls.intercepted(model, capture):
                loss = gradient_formulas.SCALE * self._loss(parameters, buffers, x, y)
        calls = capture.calls
        self._check_called(calls)
        gradients = tape.gradient(
            loss,
            [(call.inputs, call.outputs) for call in calls],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        rows, done = {}, []
        for call, (downstream, upstream) in zip(calls, gradients, strict=True):
            # Sequentially: the copies of one layer are alive at a time.
            with tf.control_dependencies(done):
                row = gradient_formulas.compared(call, downstream, upstream)
            rows[norm_calls.unused(call.name, rows)] = row
            done = [value for value in row.values() if value is not None]
        return rows

    def _check_called(self, calls):
        called = {call.name for call in calls}
        missing = [n for n in self._names.values() if n not in called]
        if self._required and missing:
            raise ValueError(
                "layers must be called with the statistics of the batch, without a "
                f"mask. Received: layers with {missing[0]!r}, which is not. Remove it."
            )


def gradient_identities(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any,
    *,
    layers: Iterable[str] | None = None,
) -> list[GradientIdentities]:
    """Checks Theorem 4.1 and its identities at a model's present weights.

    Args:
        model, loss, layers: as in `GradientIdentityMeter`.
        x, y: a batch: arrays, tensors, or structures of them.

    Returns:
        A list of `GradientIdentities`, one per layer. Cost: that of
        `GradientIdentityMeter`, and a new trace with every call. No state changes.

    Raises:
        ValueError: as `GradientIdentityMeter`.
    """
    meter = GradientIdentityMeter(model, loss, layers=layers)
    return meter(snapshot(model), *measurement.as_batch(x, y))


def _plain(scalar):
    return None if scalar is None else float(scalar)


def _largest_error(record):
    errors = [layer["relative_error"] for layer in record["layers"]]
    return float(np.max(errors)) if errors else None  # of NaN, NaN


DIAGNOSTIC = diagnostic.Diagnostic(
    name="theory",
    title="theorem 4.1 and the gradient identities on the batch normalisation layers",
    details="errors of each identity",
    cost="about two steps",
    make=GradientIdentityMeter,
    kinds=(
        diagnostic.RecordKind(
            "theory",
            layer_values={
                "upstream": "|(gamma / s) g|",
                "norm": "|G|",
                "bound": "root of the theorem's right-hand side",
                "printed_bound": "the same as printed; negative if it has no root",
                "relative_error": "of the theorem as an equality",
                "gradient_error": "of Fact C.1",
                "channel_violations": "channels above the printed bound",
                "sum_residual": "of <1, G> = 0",
                "projection": "<yh, G>",
                "projection_residual": "of <yh, G>",
                "gamma_error": "of dL/dgamma; None without gamma",
                "beta_error": "of dL/dbeta; None without beta",
                "invariance": "<W, dL/dW> of the preceding linear layer, or None",
                "invariance_residual": "of it, or None",
            },
            figures={"theory": "Santurkar, Theorem 4.1: how far it holds, by layer"},
            totals={"theorem 4.1, largest relative error of any layer": _largest_error},
        ),
    ),
    arguments=("layers",),
    needs=frozenset(
        {
            Need.LOSS,
            Need.TRAINING_MODE,
            Need.BATCH_STATISTICS,
        }
    ),
    if_empty="no layer normalises by the batch alone",
)
