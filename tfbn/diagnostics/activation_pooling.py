"""The moments of activations on several batches, from those of each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """The activations of one layer on one batch, or on several; arrays.

    Attributes:
        mean, variance: `[units]`; the variance is biased.
        of_unit: `[n]`, the values of one unit, so n values of each.
        low, high: scalars, the least and the largest finite value.
    """

    mean: np.ndarray
    variance: np.ndarray
    of_unit: np.ndarray
    low: np.ndarray
    high: np.ndarray


def pooled(parts: Sequence[Moments]) -> Moments:
    """Returns the moments of all values of several batches, in float64.

    Exact for batches of any sizes: with n values of a unit in a batch,

    ```
    mean     = sum(n mean_b) / sum(n)
    variance = sum(n (variance_b + (mean_b - mean)^2)) / sum(n)
    ```
    """
    sizes = [len(part.of_unit) for part in parts]
    means = np.array([part.mean for part in parts], np.float64)
    variances = np.array([part.variance for part in parts], np.float64)
    with np.errstate(invalid="ignore"):  # infinite activations
        mean = np.average(means, axis=0, weights=sizes)
        spread = variances + np.square(means - mean)
        variance = np.average(spread, axis=0, weights=sizes)
    return Moments(
        mean,
        variance,
        np.concatenate([part.of_unit for part in parts]),
        np.min([part.low for part in parts]),
        np.max([part.high for part in parts]),
    )
