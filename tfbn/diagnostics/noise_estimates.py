"""What the meter of the gradient noise scale returns; for the formulas see it."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np


class NoiseScale(NamedTuple):
    """The estimates, over all parameters or those of a layer group.

    They are from one batch, or means over several.

    Attributes:
        name: str, of the group; None for all parameters.
        squared_norm: float, the estimate of |G|^2; it can be negative.
        covariance_trace: float, the estimate of tr(Sigma).
        small_batch, large_batch: ints, b and B.
        layers: tuple of `NoiseScale`, one per group; empty in that of a group.
    """

    name: str | None
    squared_norm: float
    covariance_trace: float
    small_batch: int
    large_batch: int
    layers: tuple["NoiseScale", ...] = ()

    @property
    def noise_scale(self) -> float:
        """tr(Sigma) / |G|^2, of the batch or the means."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.divide(self.covariance_trace, self.squared_norm))

    def record(self) -> dict[str, Any]:
        """Returns the values of a "noise_scale" record."""
        values = self._asdict()
        del values["name"]
        names = ("name", "squared_norm", "covariance_trace")
        values["layers"] = [{n: getattr(la, n) for n in names} for la in self.layers]
        return values


def estimate(
    name: str | None, squares: np.ndarray, small: int, parts: int
) -> NoiseScale:
    """Returns the `NoiseScale` of one batch.

    Args:
        name: str, of the group, or None.
        squares: `[2, parameters]`: |G_b|^2 and |G_B|^2, parameter by parameter.
        small, parts: b, and B / b.
    """
    of_parts, of_whole = squares.sum(axis=1).tolist()
    large = small * parts
    norm = (large * of_whole - small * of_parts) / (large - small)
    trace = (of_parts - of_whole) / (1.0 / small - 1.0 / large)
    return NoiseScale(name, norm, trace, small, large)


def mean(estimates: Sequence[NoiseScale]) -> NoiseScale:
    """Returns the mean of the estimates of several batches."""
    norm = float(np.mean([each.squared_norm for each in estimates]))
    trace = float(np.mean([each.covariance_trace for each in estimates]))
    return estimates[0]._replace(squared_norm=norm, covariance_trace=trace)
