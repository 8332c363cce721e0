"""The distributions of a network's activations, and how they move as it trains.

This is the first reading of "internal covariate shift": the drift of the mean and
variance of a layer's inputs over training (Ioffe & Szegedy 2015, arXiv 1502.03167,
sec. 4.1: percentiles of one unit; Santurkar et al. 2018, arXiv 1805.11604, Fig. 2 and
8: distributions, |mean_{t+1} - mean_t|, mean_t - mean_0 and the same of the variance).
The other, what an update of the layers before changes in a layer's gradient, is
`covariate_shift`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import measurement
from tfbn.diagnostics.layer_calls import intercepted
from tfbn.diagnostics.layer_outputs import OutputTap
from tfbn.diagnostics.layer_outputs import tapped_layers
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot

PERCENTILES = (15, 50, 85)


class LayerActivations(NamedTuple):
    """The activations of one layer on one batch; arrays are float64.

    Attributes:
        name: str.
        mean: array `[units]`, over all axes but that of the units.
        variance: array `[units]`, the biased one.
        unit: int, the one that `percentiles` are of.
        percentiles: array `[3]`: the 15th, 50th and 85th percentile of that unit,
            interpolated linearly; NaN if one of its activations is.
        edges: array `[num_bins + 1]` of equally wide bins from the least to the largest
            finite activation of all units; NaN if none is finite.
        counts: int64 array `[num_bins]`, finite activations in each bin, the last one's
            upper edge included.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    unit: int
    percentiles: np.ndarray
    edges: np.ndarray
    counts: np.ndarray


class Activations(list):
    """A list of `LayerActivations` in forward order."""

    def record(self, after=None, initial=None):
        """The values of an "activations" record.

        Args:
            after: `Activations` on the same batch after the update, for the changes
                |mean_{t+1} - mean_t|, or None.
            initial: `Activations` before training, for the drifts |mean_t - mean_0|,
                or None.

        Returns:
            A dict of `layers`, a list of dicts: averages over the layer's units, and
            what is of one unit; without `after` or `initial` no changes or drifts.

        Raises:
            ValueError: if `after` or `initial` is of other layers.
        """
        others = {"change": after, "drift": initial}
        layers = [_summary(layer) for layer in self]
        for label, other in others.items():
            if other is None:
                continue
            _check_same_layers(self, other)
            for values, one, two in zip(layers, self, other, strict=True):
                for name in ("mean", "variance"):
                    with np.errstate(invalid="ignore"):  # infinities: NaN
                        moved = np.abs(getattr(two, name) - getattr(one, name))
                    values[f"{name}_{label}"] = float(np.mean(moved))
        return {"layers": layers}


class ActivationMeter:
    """Measures the activations of one model at given parameters.

    A layer is looked at where its nonlinearity takes its input: at the last layer of a
    layer group (see `layer_groups`), which is its normalisation if there is one, and
    behind a normalisation without parameters or an `ActivationNoise` that directly
    takes that layer's output. A layer with an activation of its own
    (`Dense(8, "relu")`) shows its outputs after it. Units are those of the last axis,
    of a normalisation's own axis, or of axis 1 of a layer with
    `data_format="channels_first"`. Of a layer that is called several times the first
    call counts.

    Moments are those of float32 values (float64 in a float64 model), the variance from
    the centred ones. Measure two states on the same batch to see what an update did;
    each state's buffers (averages, seeds) are used, so that noise is drawn anew in
    each step as in training.

    Cost: a forward pass a state, and as much time for the statistics. No state changes.

    Args:
        model: a built Keras model.
        layers: None for the above, an iterable of names of layers at any depth, or a
            mapping of labels to such names. A name is that of the layer, or its path
            ("block1/conv") where the name alone is not unique.
        unit: int >= 0, the unit whose percentiles are taken, in each layer. Default 0.
        num_bins: int >= 1, of the histograms. Default 50.
        training: bool, whether the model runs in training mode. Default True.
        jit_compile: bool, whether XLA compiles the measurement. Default False.

    Raises:
        ValueError: for an argument outside its range, a model that is not built or has
            nothing to train, or a name that is no layer's.
    """

    def __init__(
        self,
        model,
        *,
        layers=None,
        unit=0,
        num_bins=50,
        training=True,
        jit_compile=False,
    ):
        self._forward = LossFunction(model, _no_loss, training=training)
        self._layers = tapped_layers(model, layers)
        self._follow = layers is None
        self._unit = validation.integer("unit", unit, minimum=0)
        self._num_bins = validation.integer("num_bins", num_bins, minimum=1)
        validation.memory(8 * num_bins, num_bins=num_bins)
        self._measure = measurement.compiled(self._statistics, jit_compile=jit_compile)

    @property
    def cost(self):
        """`measurement.Cost` of a state."""
        return measurement.Cost(passes=2.0 / 3.0, copies=0)  # with the statistics

    def __call__(self, state, x):
        """Measures at `state`.

        Args:
            state: `State`.
            x: the inputs of a batch, a tensor or a structure of tensors.

        Returns:
            `Activations`.

        Raises:
            ValueError: if the batch does not fit, a layer was not called or gave
                something else than a tensor of floats of rank 2 or more, or has no unit
                of the index `unit`.
        """
        rows = self._measure(state.parameters, state.buffers, x)
        return Activations(
            self._result(name, *(part.numpy() for part in row))
            for name, row in zip(self._layers, rows, strict=True)
        )

    def _statistics(self, parameters, buffers, x):
        """For each layer: mean, variance, a unit's values, least, largest, counts."""
        tap = OutputTap(self._layers.values(), follow=self._follow)
        with intercepted(self._forward.model, tap):
            self._forward(parameters, buffers, x, ())
        return [
            self._of_layer(name, tap.units_last(name, layer))
            for name, layer in self._layers.items()
        ]

    def _of_layer(self, name, values):
        if self._unit >= values.shape[-1]:
            raise ValueError(
                "unit must be less than each layer's number of units. Received: "
                f"unit={self._unit}, and layer {name!r} has {values.shape[-1]}."
            )
        values = tf.reshape(values, [-1, values.shape[-1]])
        mean = tf.reduce_mean(values, axis=0)
        variance = tf.reduce_mean(tf.square(values - mean), axis=0)
        return (
            mean,
            variance,
            values[:, self._unit],
            *_histogram(values, self._num_bins),
        )

    def _result(self, name, mean, variance, of_unit, low, high, counts):
        with np.errstate(invalid="ignore"):  # infinite activations
            percentiles = np.percentile(of_unit.astype(np.float64), PERCENTILES)
        return LayerActivations(
            name=name,
            mean=mean.astype(np.float64),
            variance=variance.astype(np.float64),
            unit=self._unit,
            percentiles=percentiles,
            edges=_edges(float(low), float(high), self._num_bins),
            counts=counts.astype(np.int64),
        )


def activation_moments(model, x, *, layers=None, unit=0, num_bins=50, training=True):
    """The activations of a model's layers on a batch, at its present parameters.

    Args:
        model: a built Keras model.
        x: inputs, an array, a tensor or a structure of them.
        layers, unit, num_bins, training: as in `ActivationMeter`.

    Returns:
        `Activations`, a list of `LayerActivations` in forward order: each unit's mean
        and variance, the percentiles of one unit, a histogram. Cost: that of
        `ActivationMeter`; each call of this function traces anew. No state changes.

    Raises:
        ValueError: as `ActivationMeter` does.
    """
    meter = ActivationMeter(
        model, layers=layers, unit=unit, num_bins=num_bins, training=training
    )
    x, _ = measurement.as_batch(x, x)
    return meter(snapshot(model), x)


def _no_loss(y_true, y_pred):
    del y_true, y_pred
    return tf.zeros([])


def _histogram(values, num_bins):
    """`(least, largest, counts)` of the finite values, in equally wide bins."""
    finite = tf.math.is_finite(values)
    low = tf.reduce_min(tf.where(finite, values, np.inf))
    high = tf.reduce_max(tf.where(finite, values, -np.inf))
    # In halves, because the range of finite values can overflow.
    width = 0.5 * high - 0.5 * low
    place = tf.where(width > 0.0, (0.5 * values - 0.5 * low) / width, 0.5)
    place = tf.where(finite, place, 0.0)
    bins = tf.minimum(tf.cast(place * num_bins, tf.int32), num_bins - 1)
    bins = tf.where(finite, bins, num_bins)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, num_bins + 1)
    return low, high, counts[:num_bins]


def _edges(low, high, num_bins):
    if low > high:  # nothing finite
        return np.full(num_bins + 1, np.nan)
    if low == high:  # all in the middle of bins of some width, as NumPy has it
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, num_bins + 1)


def _summary(layer):
    """What the record tells of a layer at one moment."""
    return {
        "name": layer.name,
        "mean": float(np.mean(layer.mean)),
        "variance": float(np.mean(layer.variance)),
        "unit": layer.unit,
        "unit_mean": float(layer.mean[layer.unit]),
        "unit_variance": float(layer.variance[layer.unit]),
        "percentiles": layer.percentiles.tolist(),
        "histogram": {
            "edges": layer.edges.tolist(),
            "counts": layer.counts.tolist(),
        },
    }


def _check_same_layers(one, other):
    names, others = ([(a.name, len(a.mean)) for a in each] for each in (one, other))
    if names != others:
        raise ValueError(
            "activations must be compared with those of the same layers. Received: "
            f"(name, units) {names} and {others}."
        )
