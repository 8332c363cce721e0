"""What the meter of internal covariate shift returns."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn.diagnostics import measurement


class CovariateShift(NamedTuple):
    """The internal covariate shift of one layer group.

    Attributes:
        name: str, of the group.
        distance: float, |G - G'|, the l2 norm over all parameters of the group.
        cosine: float in [-1, 1], of the angle between G and G'; NaN if one is 0.
        norm: float, |G|.
        norm_after: float, |G'|.
    """

    name: str
    distance: float
    cosine: float
    norm: float
    norm_after: float


def total_shift(
    shifts: list[CovariateShift], name: str = "all parameters"
) -> CovariateShift:
    """Returns the `CovariateShift` over the parameters of all groups together."""
    norms = [each[1:] for each in shifts]
    distances, cosines, before, after = np.array(norms, np.float64).T
    lengths = before * after
    inner = np.where(lengths == 0.0, 0.0, cosines * lengths)
    squares = [np.sum(np.square(v)) for v in (distances, before, after)]
    return shift(name, squares[0], np.sum(inner), *squares[1:])


def products(before: list, after: list) -> tf.Tensor:
    """Returns what `shift` takes, of two lists of tensors: float64 `[4]`."""
    differences = [a - b for a, b in zip(after, before, strict=True)]
    return tf.stack(
        [
            measurement.squared_norm(differences),
            measurement.dot(after, before),
            measurement.squared_norm(before),
            measurement.squared_norm(after),
        ]
    )


def shift(
    name: str,
    squared_distance: float,
    product: float,
    squared_norm: float,
    squared_norm_after: float,
) -> CovariateShift:
    """Returns the `CovariateShift` of a group, from its `products`."""
    distance, norm, norm_after = np.sqrt(
        [squared_distance, squared_norm, squared_norm_after]
    ).tolist()
    length = norm * norm_after
    cosine = product / length if length else np.nan
    return CovariateShift(
        name, distance, float(np.clip(cosine, -1.0, 1.0)), norm, norm_after
    )
