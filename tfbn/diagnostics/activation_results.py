"""What the meter of activations returns and remembers."""

import json
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn.diagnostics import measurement


class LayerActivations(NamedTuple):
    """The activations of one layer on one batch; arrays are float64.

    Attributes:
        name: str.
        mean: array `[units]`, over all axes but that of the units.
        variance: array `[units]`, biased.
        unit: int, the unit of `percentiles`.
        percentiles: array `[3]`: the 15th, 50th and 85th percentile of that unit,
            interpolated linearly; NaN if one of its activations is.
        edges: array `[num_bins + 1]` of equally wide bins from the least to the largest
            finite activation of all units; NaN if none is finite.
        counts: int64 array `[num_bins]`, finite activations in each bin; the last bin
            includes its upper edge.
    """

    name: str
    mean: np.ndarray
    variance: np.ndarray
    unit: int
    percentiles: np.ndarray
    edges: np.ndarray
    counts: np.ndarray


class Activations(list[LayerActivations]):
    """A list of `LayerActivations` in forward order."""

    def record(
        self,
        after: "Activations | None" = None,
        initial: "Activations | None" = None,
    ) -> dict[str, Any]:
        """Returns the values of an "activations" record.

        Args:
            after: `Activations` on the same batch after the update, for the changes
                |mean_{t+1} - mean_t|, or None.
            initial: `Activations` before training, for the drifts |mean_t - mean_0|,
                or None.

        Returns:
            A dict of `layers`, a list of dicts: averages over the layer's units, and
            values of one unit. Without `after` there are no changes, without `initial`
            no drifts.

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


class FirstActivations(tf.train.experimental.PythonState):
    """The first activations that a meter measured, which `tf.train.Checkpoint` saves.

    Attributes:
        activations: `Activations`, or None.
    """

    def __init__(self):
        super().__init__()
        self.activations: Activations | None = None

    def serialize(self) -> str:
        """Returns the activations as text, every float to its last bit."""
        return json.dumps(measurement.plain(self.activations))

    def deserialize(self, string_value: str) -> None:
        """Restores the activations from their text."""
        layers = json.loads(string_value)
        self.activations = None if layers is None else Activations(map(_layer, layers))


def _layer(values: dict[str, Any]) -> LayerActivations:
    lists = {k: np.asarray(v) for k, v in values.items() if isinstance(v, list)}
    return LayerActivations(**{**values, **lists})


def _summary(layer):
    """Returns the values of the record that need one state only."""
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
    # Not by name: Keras numbers layers anew in each process, and so after a resumption.
    units, others = ([len(layer.mean) for layer in each] for each in (one, other))
    if units != others:
        raise ValueError(
            "activations must be compared with those of the same layers. Received: "
            f"layers of {units} and {others} units."
        )
