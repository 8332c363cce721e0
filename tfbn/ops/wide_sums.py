"""Batch normalisation of small inputs on a CPU: the formulas, with sums in float64.

The time of a small input is that of its operations, not of its memory. This takes the
fewest: in float64, a sum needs neither a shift nor runs to keep its digits.
"""

import tensorflow as tf

from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_moments
from tfbn.ops.requests import Request

NAME = "wide_sums"


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return request.operation == "batch_norm" and cpu_kernels.runs(request)


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others, of inputs that may be small."""
    return not cpu_kernels.is_faster(request)


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that it takes for calls with `dtype`."""
    del dtype
    return tf.float32


class Normalizer:
    """The normalisation of one float32 batch with the channels last.

    Attributes:
        statistics: `[channels]`, float32.
    """

    def __init__(self, x, request, epsilon, mask=None):
        del request, mask  # no mask is supported
        # Eagerly a tape that wants second derivatives is seen, and gets the formula. A
        # function may find out when it has been traced.
        x = tf.stop_gradient(x) if tf.executing_eagerly() else x
        self._measure(x)
        wide = tf.cast(x, tf.float64)
        mean = tf.reduce_sum(wide, self._axes) / self._divisor
        deviations = wide - mean
        squares = tf.reduce_sum(tf.square(deviations), self._axes)
        variance = squares / self._divisor
        scale = tf.sqrt(variance + epsilon)
        self._deviations = tf.cast(deviations, tf.float32)
        self.statistics = cpu_moments.statistics(self._count, mean, variance, scale)

    def _measure(self, x):
        self._axes = list(range(len(x.shape) - 1))
        self._count = cpu_moments.num_rows(x)
        self._divisor = cpu_moments.divisor_of_sums(self._count)

    @property
    def saved(self):
        """The tensors from which `of_saved` makes it again."""
        return self._deviations, self.statistics

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone."""
        del request, epsilon
        normalizer = cls.__new__(cls)
        normalizer._measure(dy)
        normalizer._deviations, normalizer.statistics = saved
        return normalizer

    def averaged_statistics(self):
        """The statistics, `[channels]`, constants for a gradient."""
        if tf.executing_eagerly():  # then they are
            return self.statistics
        return self.statistics.map(tf.stop_gradient)

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both are `[channels]`."""
        return self._deviations * (gain / self.statistics.scale) + offset

    def gradients(self, dy, gain):
        """The gradients of sum(dy * affine(gain, offset)) for x, gain and offset.

        By the formulas of Ioffe & Szegedy 2015, section 3: of x it is linear in dy and
        in the deviations from the mean, channel by channel.
        """
        scale, divisor = self.statistics.scale, self._divisor
        if not isinstance(divisor, float):
            divisor = tf.cast(divisor, tf.float32)
        doffset = self._total(dy)
        dgain = self._total(dy * self._deviations) / scale
        of_dy = gain / scale
        of_deviations = of_dy * dgain / (scale * divisor)
        constant = of_dy * doffset / divisor
        dx = of_dy * dy - (of_deviations * self._deviations + constant)
        return dx, dgain, doffset

    def _total(self, x):
        total = tf.reduce_sum(tf.cast(x, tf.float64), self._axes)
        return tf.cast(total, tf.float32)
