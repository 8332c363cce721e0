"""What Batch Renormalization corrects: r and d before clipping (Ioffe 2017, Alg. 1).

A layer's r and d say how far the statistics of a batch are from the moving averages.
Within their bounds, training computes what inference does, apart from a common scale if
`drift_correction` takes that out. Outside, the rest is normalised by the batch, as in
batch normalisation. r above 1 in all channels of a layer at once is no noise of the
batch: the averages lag behind weights that grow (docs/renorm.md).
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import _compat
from tfbn import ops
from tfbn.diagnostics import batches
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import layer_calls
from tfbn.diagnostics import measurement
from tfbn.diagnostics import norm_calls
from tfbn.diagnostics._layer_groups import unused
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.layers import BatchRenorm

_UNBOUNDED = {"rmax": float("inf"), "dmax": float("inf")}


class RenormCorrection(NamedTuple):
    """The correction of one layer for one batch.

    Attributes:
        name: str, the layer's path in the model.
        r, d: float64 `[virtual batches, channels]`, before clipping; one virtual batch
            if the whole batch has the same statistics. Of a dataset, those of all its
            batches, one after the other.
        rmax, dmax: floats, the bounds of this training call.
        scale_ratio: array like r, sigma_B / sigma: r without `drift_correction`.
        mean_distance: array like r, |mu_B - mu| / sigma_B: how many standard deviations
            of the batch there are between the two means.
    """

    name: str
    r: np.ndarray
    d: np.ndarray
    rmax: float
    dmax: float
    scale_ratio: np.ndarray
    mean_distance: np.ndarray

    @property
    def r_clipped(self) -> float:
        """The share of channels whose r is outside [1 / rmax, rmax]."""
        return _share((self.r > self.rmax) | (self.r < 1.0 / self.rmax), self.r)

    @property
    def d_clipped(self) -> float:
        """The share of channels whose d is outside [-dmax, dmax]."""
        return _share(np.abs(self.d) > self.dmax, self.d)

    @property
    def common_scale(self) -> float:
        """The geometric mean of `scale_ratio` over the channels."""
        return float(np.exp(_reduced(np.mean, np.log(self.scale_ratio))))

    def record(self) -> dict[str, Any]:
        """Returns one of the `layers` of a "renorm" record."""
        distance = np.abs(self.d)
        return {
            "name": self.name,
            "r_median": _reduced(np.median, self.r),
            "r_least": _reduced(np.min, self.r),
            "r_largest": _reduced(np.max, self.r),
            "d_median": _reduced(np.median, distance),
            "d_largest": _reduced(np.max, distance),
            "r_clipped": self.r_clipped,
            "d_clipped": self.d_clipped,
            "common_scale": self.common_scale,
            "mean_distance": _reduced(np.median, self.mean_distance),
            "rmax": self.rmax,
            "dmax": self.dmax,
        }


class RenormMeter(diagnostic.Meter):
    """Measures r and d of the `BatchRenorm` layers of one model.

    Only training calls count. A layer that is frozen, called in inference mode or
    inside a loop has none. Channels without a finite statistic are left out.

    Cost: a forward pass. No state changes.

    Args:
        model, jit_compile: as in `Diagnostic.meter`.

    Raises:
        ValueError: for a model that is not built or has nothing to train.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool = False):
        self._forward = LossFunction(model, _no_loss)
        self._measure = measurement.compiled(self._corrections, jit_compile=jit_compile)
        self.cost = measurement.Cost(passes=1.0 / 3.0, copies=0)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "renorm" of the step's batch, before the update."""
        results = self(step.before, step.batch[0])
        return {"renorm": {"layers": [result.record() for result in results]}}

    def __call__(self, state: State, x: Any) -> list[RenormCorrection]:
        """Measures at `state`.

        Args:
            state: `State`.
            x: the inputs of a batch, a tensor or a structure of tensors; or a dataset,
                of inputs or of tuples that begin with them.

        Returns:
            A list of `RenormCorrection`, in the order of the calls; the second call of
            a layer is named "NAME#2".

        Raises:
            ValueError: for a batch that does not fit.
        """
        if batches.is_dataset(x):
            parts = [self(state, batch) for batch in batches.inputs(x)]
            return [_stacked(of_layer) for of_layer in zip(*parts, strict=True)]
        rows = self._measure(state.parameters, state.buffers, x)
        return [
            RenormCorrection(name, **{k: _plain(v) for k, v in row.items()})
            for name, row in rows.items()
        ]

    def _corrections(self, parameters, buffers, x):
        """Returns a dict of dicts of tensors: layer, then attribute."""
        capture = _CorrectionCapture(self._forward.model)
        with layer_calls.intercepted(self._forward.model, capture):
            self._forward(parameters, buffers, x, ())
        return capture.rows


class _CorrectionCapture:
    """A handler for `layer_calls.intercepted` that keeps what layers correct.

    Attributes:
        rows: dict from name to the attributes of a `RenormCorrection`, as tensors.
    """

    def __init__(self, model: keras.Model):
        self.rows = {}
        self._model = model
        self._graph = _compat.current_graph()

    def __call__(
        self, layer: keras.layers.Layer, call: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        if not isinstance(layer, BatchRenorm):
            return call(*args, **kwargs)
        correction = layer.renorm_correction

        def kept_correction(statistics, averages):
            del averages  # the layer's, which `correction` takes itself
            if _compat.current_graph() is self._graph:  # not in a loop
                name = unused(norm_calls.path(layer, self._model), self.rows)
                self.rows[name] = _row(statistics, correction, layer.bounds())
            return correction(statistics)

        # Not setattr: Keras and TensorFlow would track the attribute.
        attributes = layer.__dict__
        attributes["_correction"] = lambda: kept_correction
        try:
            with ops.no_sharing():  # into a shared function one could not look
                return call(*args, **kwargs)
        finally:
            del attributes["_correction"]


def renorm_corrections(model: keras.Model, x: Any) -> list[RenormCorrection]:
    """Measures r and d of a model's `BatchRenorm` layers at its present state.

    Args:
        model: a built Keras model.
        x: inputs: an array, a tensor, or a structure of them; or a `tf.data.Dataset` of
            batches, of inputs or of tuples that begin with them.

    Returns:
        A list of `RenormCorrection`, one per layer, in the order of their calls. Cost:
        a forward pass, and a new trace with every call. No state changes.

    Raises:
        ValueError: as `RenormMeter`.
    """
    return RenormMeter(model)(snapshot(model), measurement.as_inputs(x))


def _stacked(parts):
    """Returns the correction of one layer for all batches, from those for each."""
    arrays = ("r", "d", "scale_ratio", "mean_distance")
    columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in arrays}
    return parts[0]._replace(**columns)


def _row(statistics, correction, bounds):
    r, d = correction(statistics, **_UNBOUNDED)
    ratio, drift = correction(statistics, **_UNBOUNDED, drift_correction=False)
    rmax, dmax = bounds
    return {
        "r": r,
        "d": d,
        "rmax": tf.maximum(rmax, 1.0),
        "dmax": tf.maximum(dmax, 0.0),
        "scale_ratio": ratio,
        "mean_distance": tf.abs(drift) / ratio,
    }


def _no_loss(y_true, y_pred):
    del y_true, y_pred
    return tf.zeros([])


def _plain(value):
    value = value.numpy().astype(np.float64)
    return np.atleast_2d(value) if value.ndim else float(value)


def _reduced(reduce, values):
    finite = values[np.isfinite(values)]
    return float(reduce(finite)) if finite.size else float("nan")


def _share(chosen, values):
    finite = np.isfinite(values)
    return float(np.mean(chosen[finite])) if finite.any() else float("nan")


def _largest(name):
    def of(record):
        values = [layer[name] for layer in record["layers"]]
        return float(np.max(values)) if values else None

    return of


DIAGNOSTIC = diagnostic.Diagnostic(
    name="renorm",
    title="what Batch Renormalization corrects",
    details="r and d of every BatchRenorm layer before clipping, and how far the "
    "averages are from the batch",
    cost="a third of a step",
    make=RenormMeter,
    kinds=(
        diagnostic.RecordKind(
            "renorm",
            layer_values={
                "r_median": "median of r over the channels, before clipping",
                "r_least": "least r",
                "r_largest": "largest r",
                "d_median": "median of |d| over the channels, before clipping",
                "d_largest": "largest |d|",
                "r_clipped": "share of channels whose r is clipped",
                "d_clipped": "share of channels whose d is clipped",
                "common_scale": "geometric mean of sigma_B / sigma over the channels",
                "mean_distance": "median of |mu_B - mu| / sigma_B over the channels",
                "rmax": "the bound of r",
                "dmax": "the bound of d",
            },
            figures={
                "renorm": "Batch Renormalization: r and d before clipping, by layer"
            },
            layer_columns={
                "largest r": "r_largest",
                "largest |d|": "d_largest",
                "r clipped": "r_clipped",
                "d clipped": "d_clipped",
                "common scale": "common_scale",
            },
            totals={
                "largest r of any layer": _largest("r_largest"),
                "largest |d| of any layer": _largest("d_largest"),
            },
            divergence="r_largest",
        ),
    ),
    many_batches=True,
    needs=frozenset({Need.TRAINING_MODE, Need.RENORMALISATION}),
    if_empty="no layer renormalises its batches",
)
