"""What one batch says of each channel."""

from typing import NamedTuple

import tensorflow as tf


class Statistics(NamedTuple):
    """What one batch says of each channel, `[channels]`.

    Attributes:
        mean: the mean.
        remainder: what `mean` lost in rounding: `mean + remainder` is exact to some
            ulp of the spread even where the mean is much larger.
        spread: the biased variance or the l_p norm.
        scale: what the centred input is divided by: `sqrt(variance + epsilon)` or
            `norm + epsilon`.
        valid: scalar bool; False for an empty batch or one with a non-finite
            statistic, which must not enter a moving average.
    """

    mean: tf.Tensor
    remainder: tf.Tensor
    spread: tf.Tensor
    scale: tf.Tensor
    valid: tf.Tensor

    def map(self, function):
        """`function` of each but `valid`."""
        return Statistics(*(function(s) for s in self[:-1]), self.valid)


def is_valid(count, mean, spread):
    """Whether there are elements (`count`) and all statistics are finite."""
    finite = tf.math.is_finite(mean) & tf.math.is_finite(spread)
    return tf.reduce_any(finite & (count > 0)) & tf.reduce_all(finite)
