"""The distributions of a network's activations, and how they move as it trains.

This is the original meaning of "internal covariate shift": the drift of the mean and
variance of a layer's inputs over training (Ioffe & Szegedy 2015, arXiv 1502.03167,
sec. 4.1: percentiles of one unit; Santurkar et al. 2018, arXiv 1805.11604, Fig. 2 and
8: distributions, |mean_{t+1} - mean_t|, mean_t - mean_0 and the same for the variance).
For the later meaning, the change of a layer's gradient by the update of the preceding
layers, see `covariate_shift`.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import batches
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics.activation_pooling import Moments
from tfbn.diagnostics.activation_pooling import pooled
from tfbn.diagnostics.activation_results import Activations
from tfbn.diagnostics.activation_results import FirstActivations
from tfbn.diagnostics.activation_results import LayerActivations
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.histograms import counts_in_bins
from tfbn.diagnostics.histograms import edges_of_bins
from tfbn.diagnostics.histograms import finite_range
from tfbn.diagnostics.layer_calls import intercepted
from tfbn.diagnostics.layer_outputs import Layers
from tfbn.diagnostics.layer_outputs import OutputCapture
from tfbn.diagnostics.layer_outputs import captured_layers
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.options import Option

PERCENTILES = (15, 50, 85)


class ActivationMeter(diagnostic.Meter):
    """Measures the activations of one model at given parameters.

    A layer's activations are the inputs of its nonlinearity: the outputs of the last
    layer of a layer group (see `layer_groups`), which is its normalisation if it has
    one, or of a normalisation without parameters or an `ActivationNoise` directly after
    it. A layer with an activation of its own (`Dense(8, "relu")`) counts with its
    outputs after it. Units are those of the last axis, of a normalisation's axis, or of
    axis 1 of a layer with `data_format="channels_first"`. If a layer is called several
    times, the first call counts. Left out are layers that the model does not call, or
    only in a loop, that return anything but one tensor of floats of rank 2 or more with
    a known number of units, and parameters of the model itself; a layer chosen by name
    must have activations.

    Moments are computed in float32 (float64 in a float64 model), the variance from
    centred values. Measure two states on the same batch to see what an update did; each
    state's buffers (averages, seeds) are used, so that noise is drawn anew in each step
    as in training.

    On a dataset of batches everything is of the activations on all of them together,
    exact for batches of any sizes; in training mode each batch has its own statistics,
    and all have the same noise.

    Cost: a forward pass per state, and as much time for the statistics; on a dataset
    twice that, for it is read again for the histograms, whose range is known only then,
    and the memory of all values of one unit. No state changes.

    Args:
        model, training, jit_compile: as in `Diagnostic.meter`.
        layers: None for the above, an iterable of names of layers at any depth, or a
            mapping from labels to such names. A name is that of the layer, or its path
            ("block1/conv") where the name alone is not unique.
        unit: int >= 0, the unit whose percentiles are taken, in each layer. Default 0.
        num_bins: int >= 1, bins of the histograms. Default 50.
        drift: bool, whether records of `measure` hold drifts from the first
            measurement, which the meter remembers. Default True.

    Raises:
        ValueError: for an argument outside its range, a model that is not built or has
            nothing to train, or a name that no layer has.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        layers: Layers = None,
        unit: int = 0,
        num_bins: int = 50,
        drift: bool = True,
        training: bool = True,
        jit_compile: bool = False,
    ):
        self.memory = FirstActivations() if validation.boolean("drift", drift) else None
        self._forward = LossFunction(model, _no_loss, training=training)
        self._layers = captured_layers(model, layers)
        self._follow = layers is None
        self._unit = validation.integer("unit", unit, minimum=0)
        self._num_bins = validation.integer("num_bins", num_bins, minimum=1)
        validation.memory(8 * num_bins, num_bins=num_bins)
        self._measure = measurement.compiled(self._statistics, jit_compile=jit_compile)
        self._count = measurement.compiled(self._counts, jit_compile=jit_compile)
        # Two forward passes, and as much time for the statistics.
        self.cost = measurement.Cost(passes=4.0 / 3.0, copies=0)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "activations" of the probe batch."""
        inputs, _ = step.probe
        before, after = self(step.before, inputs), self(step.after, inputs)
        first = None
        if self.memory is not None:
            self.memory.activations = first = self.memory.activations or before
        return {"activations": before.record(after=after, initial=first)}

    def __call__(self, state: State, x: Any) -> Activations:
        """Measures at `state`.

        Args:
            state: `State`.
            x: the inputs of a batch, a tensor or a structure of tensors; or a dataset,
                of inputs or of tuples that begin with them.

        Returns:
            `Activations`.

        Raises:
            ValueError: if the batch does not fit, a layer given by name was not called
                or returned anything but a tensor of floats of rank 2 or more, or a
                layer has no unit of index `unit`.
        """
        if batches.is_dataset(x):
            return self._of_dataset(state, x)
        return Activations(
            self._result(name, moments, counts)
            for name, (moments, counts) in self._rows(state, x).items()
        )

    def _of_dataset(self, state, dataset):
        parts = [self._rows(state, x) for x in batches.inputs(dataset)]
        moments = {name: pooled([part[name][0] for part in parts]) for name in parts[0]}
        ranges = {
            name: (tf.constant(m.low), tf.constant(m.high))
            for name, m in moments.items()
        }
        counts = dict.fromkeys(moments, 0)
        for x in batches.inputs(dataset):
            more = self._count(state.parameters, state.buffers, x, ranges)
            counts = {name: counts[name] + more[name].numpy() for name in counts}
        return Activations(
            self._result(name, moments[name], counts[name]) for name in moments
        )

    def _rows(self, state, x):
        """Returns a dict from the name of a layer to its `Moments` and counts."""
        rows = self._measure(state.parameters, state.buffers, x)
        arrays = {k: [part.numpy() for part in row] for k, row in rows.items()}
        return {k: (Moments(*row[:-1]), row[-1]) for k, row in arrays.items()}

    def _statistics(self, parameters, buffers, x):
        """Returns a dict from the name of a layer to what `_of_layer` returns."""
        activations = self._activations(parameters, buffers, x)
        return {name: self._of_layer(name, v) for name, v in activations.items()}

    def _counts(self, parameters, buffers, x, ranges):
        """Returns a dict from the name of a layer to its counts in a range."""
        activations = self._activations(parameters, buffers, x)
        return {
            name: counts_in_bins(activations[name], low, high, self._num_bins)
            for name, (low, high) in ranges.items()
        }

    def _activations(self, parameters, buffers, x):
        """Returns a dict from the name of a layer to its activations, units last."""
        layers = [layer for group in self._layers.values() for layer in group]
        capture = OutputCapture(layers, follow=self._follow)
        with intercepted(self._forward.model, capture):
            self._forward(parameters, buffers, x, ())
        found = {
            name: capture.first_with_units(group)
            if self._follow
            else capture.units_last(name, *group)
            for name, group in self._layers.items()
        }
        return {name: values for name, values in found.items() if values is not None}

    def _of_layer(self, name, values):
        """Returns `(mean, variance, values of the unit, least, largest, counts)`."""
        if self._unit >= values.shape[-1]:
            raise ValueError(
                "unit must be less than each layer's number of units. Received: "
                f"unit={self._unit}, and layer {name!r} has {values.shape[-1]}."
            )
        values = tf.reshape(values, [-1, values.shape[-1]])
        mean = tf.reduce_mean(values, axis=0)
        variance = tf.reduce_mean(tf.square(values - mean), axis=0)
        low, high = finite_range(values)
        counts = counts_in_bins(values, low, high, self._num_bins)
        return mean, variance, values[:, self._unit], low, high, counts

    def _result(self, name, moments, counts):
        with np.errstate(invalid="ignore"):  # infinite activations
            of_unit = moments.of_unit.astype(np.float64)
            percentiles = np.percentile(of_unit, PERCENTILES)
        return LayerActivations(
            name=name,
            mean=moments.mean.astype(np.float64),
            variance=moments.variance.astype(np.float64),
            unit=self._unit,
            percentiles=percentiles,
            edges=edges_of_bins(
                float(moments.low), float(moments.high), self._num_bins
            ),
            counts=counts.astype(np.int64),
        )


def activation_moments(
    model: keras.Model,
    x: Any,
    *,
    layers: Layers = None,
    unit: int = 0,
    num_bins: int = 50,
    training: bool = True,
) -> Activations:
    """Measures the activations of a model's layers at its present parameters.

    Args:
        model: a built Keras model.
        x: inputs: an array, a tensor, or a structure of them; or a `tf.data.Dataset` of
            batches, of inputs or of tuples that begin with them.
        layers, unit, num_bins, training: as in `ActivationMeter`.

    Returns:
        `Activations`, a list of `LayerActivations` in forward order: each unit's mean
        and variance, the percentiles of one unit, a histogram. Cost: half of that of
        `ActivationMeter`, and a new trace with every call. No state changes.

    Raises:
        ValueError: as `ActivationMeter` does.
    """
    meter = ActivationMeter(
        model, layers=layers, unit=unit, num_bins=num_bins, training=training
    )
    return meter(snapshot(model), measurement.as_inputs(x))


def _no_loss(y_true, y_pred):
    del y_true, y_pred
    return tf.zeros([])


_CHANGE = "|value after the step's update - value|, averaged over the units"
_DRIFT = "|value - value at the first measurement|, averaged over the units"

DIAGNOSTIC = diagnostic.Diagnostic(
    name="activations",
    title="every layer's activations",
    details="moments, their change, percentiles, histograms",
    cost="about 1.4 steps",
    make=ActivationMeter,
    kinds=(
        diagnostic.RecordKind(
            "activations",
            layer_values={
                "mean": "over the batch, averaged over the units",
                "variance": "over the batch, averaged over the units",
                "mean_change": _CHANGE,
                "variance_change": _CHANGE,
                "mean_drift": _DRIFT,
                "variance_drift": _DRIFT,
                "unit": "index of the unit that the next three belong to",
                "unit_mean": "its mean",
                "unit_variance": "its variance",
                "percentiles": "its 15th, 50th and 85th percentile",
                "histogram": "of all units: `edges` [b + 1] and `counts` [b]",
            },
            optional=frozenset(
                {"mean_change", "variance_change", "mean_drift", "variance_drift"}
            ),
            figures={
                "activation_ridges": "histograms of activations as training goes on",
                "activation_moments": "Santurkar, Fig. 8: moments, their changes and "
                "drift",
                "activation_percentiles": "Ioffe and Szegedy 2015, Fig. 1: 15th, 50th, "
                "85th of a unit",
            },
            layer_columns={"mean": "mean", "variance": "variance"},
            divergence="mean",
        ),
    ),
    options=(
        Option(
            "unit", 0, "Activations: the unit whose percentiles are taken.", minimum=0
        ),
    ),
    arguments=("layers", "num_bins", "drift"),
    many_batches=True,
    needs=frozenset({Need.PROBE_BATCH, Need.UPDATE}),
    single={"drift": False},
    if_empty="no layer has activations of its own",
)
