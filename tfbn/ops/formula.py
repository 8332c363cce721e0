"""Batch normalisation by its formulas, in plain operations: serves every input.

Under XLA it is the fastest path as well: each pass over the data is one loop.
"""

import tensorflow as tf

from tfbn.ops.batch import Batch
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid


class Normalizer:
    """The normalisation of one batch. Differentiable in `x`.

    Attributes:
        statistics: `[groups, channels]`, see `Batch` for groups.
    """

    def __init__(self, x, batch: Batch, epsilon):
        self._batch = batch
        self._x = batch.view(x)
        self._moments = _moments(self._x, batch, epsilon)
        self.statistics = self._moments.map(batch.vector)

    def averaged_statistics(self):
        """`[channels]`."""
        return self.statistics.map(self._batch.over_groups)

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both `[groups, channels]`."""
        gain, offset = (self._batch.statistic(v) for v in (gain, offset))
        return self._batch.restore(affine(self._x, self._moments, gain, offset))

    def gradients(self, dy, gain):
        """Those of sum(dy * affine(gain, offset)) for x, gain and offset.

        The formulas of Ioffe & Szegedy 2015, section 3.
        """
        batch, moments = self._batch, self._moments
        dy, inverse = batch.view(dy), 1.0 / moments.scale
        normalized = (self._x - moments.mean - moments.remainder) * inverse
        dgain = batch.total(_product(normalized, dy, batch))
        doffset = batch.total(dy)
        count = tf.maximum(batch.count, 1.0)
        slope = batch.across_replicas(dgain) / count
        level = batch.across_replicas(doffset) / count
        through_moments = batch.keep(normalized * slope + level)
        dx = batch.statistic(gain) * inverse * (dy - through_moments)
        return batch.restore(dx), batch.vector(dgain), batch.vector(doffset)


def affine(x, statistics, gain, offset):
    """`gain * (x - mean) / scale + offset`."""
    gain = gain / statistics.scale
    return (x - statistics.mean) * gain + (offset - statistics.remainder * gain)


def mean(x, batch: Batch):
    """`(mean, remainder)` of `Statistics` for a viewed `x`."""
    # Of data with a large offset a float32 sum knows the first digits only.
    shift = _shift(x, batch)
    rest = batch.mean(x - shift)
    rounded = shift + rest
    return rounded, rest - (rounded - shift)


def _moments(x, batch, epsilon):
    rounded, remainder = mean(x, batch)
    variance = batch.mean(tf.square(x - rounded - remainder))
    scale = tf.sqrt(variance + epsilon)
    valid = is_valid(batch.count, rounded, variance)
    return Statistics(rounded, remainder, variance, scale, valid)


def _shift(x, batch):
    """Roughly the mean, a constant for the gradient: what is made of it does not depend
    on it."""
    shift = tf.stop_gradient(batch.near_mean(x))
    # XLA makes it anew wherever it is needed, and where it is added to something does
    # not round it first. With the last bit off, it is the same number everywhere.
    integer = {tf.float32: tf.int32, tf.float64: tf.int64}[shift.dtype]
    bits = tf.bitwise.bitwise_and(tf.bitcast(shift, integer), tf.constant(-2, integer))
    return tf.bitcast(bits, shift.dtype)


def _product(normalized, dy, batch):
    if batch.mask is None:
        return normalized * dy
    # What is masked may be non-finite; 0 where no gradient comes.
    return tf.math.multiply_no_nan(normalized, dy)
