"""What the loss landscape along a line is measured to be; see `_landscape`."""

from typing import Any
from typing import NamedTuple

import numpy as np

from tfbn.diagnostics import measurement


class LayerDistances(NamedTuple):
    """The gradient distances of one layer group.

    Attributes:
        name: str, of the group.
        gradient_distances: float64 array `[n]`, over the group's parameters.
    """

    name: str
    gradient_distances: np.ndarray


class Landscape(NamedTuple):
    """The landscape along one line; arrays are float64 `[n]`, one entry per step size.

    Attributes:
        loss: float, L(x).
        gradient_norm: float, |g| and |d|.
        step_sizes: array, eta; the distance moved is eta |d|.
        losses: array, L(x + eta d).
        gradient_distances: array, |grad L(x + eta d) - g|.
        beta: float, NaN where the gradient is 0.
        local_linearity: float, NaN where the gradient is 0.
        layers: list of `LayerDistances`, in forward order.
    """

    loss: float
    gradient_norm: float
    step_sizes: np.ndarray
    losses: np.ndarray
    gradient_distances: np.ndarray
    beta: float
    local_linearity: float
    layers: list[LayerDistances]

    def record(self) -> dict[str, Any]:
        """Returns the values of a "landscape" or "landscape_random" record."""
        return measurement.plain(self)
