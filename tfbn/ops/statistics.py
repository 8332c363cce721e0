"""The statistics of a batch."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Statistics(NamedTuple):
    """The statistics of one batch, `[channels]` each.

    Attributes:
        mean: the mean.
        remainder: the rounding error of `mean`: `mean + remainder` is exact to a few
            ulp of the spread even if the mean is much larger.
        spread: the biased variance, or the l_p norm.
        scale: the divisor of the centred input: `sqrt(variance + epsilon)` or
            `norm + epsilon`.
        valid: bool, a scalar or one for each channel. It is False where the statistics
            must not enter a moving average: for a channel without elements, and for all
            if a statistic is not finite.
    """

    mean: tf.Tensor
    remainder: tf.Tensor
    spread: tf.Tensor
    scale: tf.Tensor
    valid: tf.Tensor

    def map(self, function: Callable) -> "Statistics":
        """Applies `function` to each statistic, and not to `valid`."""
        mean, remainder, spread, scale = (function(s) for s in self[:-1])
        return Statistics(mean, remainder, spread, scale, self.valid)


def is_valid(count, mean, spread):
    """Whether there are elements (`count`), and all statistics are finite."""
    finite = tf.math.is_finite(mean) & tf.math.is_finite(spread)
    valid = tf.reduce_all(finite)
    if isinstance(count, int | float):  # known, as for most graphs
        return valid if count else tf.zeros_like(valid)
    return (count > 0) & valid


def rounded_sum(shift: tf.Tensor, rest: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`(shift + rest, what its rounding leaves)`, for a `rest` smaller than `shift`."""
    rounded = shift + rest
    return rounded, rest - (rounded - shift)
