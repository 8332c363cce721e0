"""Batch normalisation of small inputs on a CPU: the formulas, with sums in float64.

The time of a small input is that of its operations, not of its memory. This takes the
fewest: in float64, a sum needs neither a shift nor runs to keep its digits.
"""

import tensorflow as tf

from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_moments
from tfbn.ops.batch import sizes_of
from tfbn.ops.requests import Request

NAME = "wide_sums"

# With a mask, inputs of fewer elements are small (docs/numerics.md).
MAX_MASKED = 2**18


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return request.operation == "batch_norm" and cpu_kernels.runs_rows(request)


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others, of inputs that may be small."""
    size = cpu_kernels.usual_size(request)
    if not request.masked:
        return size < cpu_kernels.MIN_ELEMENTS
    # Sequences of unknown length may be long.
    return size < MAX_MASKED and None not in request.shape[1:]


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
        del request
        # Eagerly a tape that wants second derivatives is seen, and gets the formula. A
        # function may find out when it has been traced.
        x = tf.stop_gradient(x) if tf.executing_eagerly() else x
        self._measure(x, mask)
        wide = tf.cast(self._keep(x), tf.float64)
        mean = tf.reduce_sum(wide, self._axes) / self._divisor
        if mask is None:
            deviations = wide - mean
            squares = tf.square(deviations)
        else:  # in float32, for a mask is slow to apply in float64
            rounded, remainder = cpu_moments.rounded(mean)
            deviations = x - rounded - remainder
            squares = tf.square(self._keep(deviations))
        variance = self._total(squares) / self._divisor
        scale = tf.sqrt(variance + epsilon)
        self._deviations = tf.cast(deviations, tf.float32)
        self.statistics = cpu_moments.statistics(self._count, mean, variance, scale)

    def _measure(self, like, mask):
        self._axes = list(range(len(like.shape) - 1))
        if mask is None:
            self._kept, self._count = None, cpu_moments.num_rows(like)
        else:
            self._kept = _as_numbers(mask, like)
            self._count = _count(self._kept)
        self._divisor = cpu_moments.divisor_of_sums(self._count)

    @property
    def saved(self):
        """The tensors from which `of_saved` makes it again."""
        return self._deviations, self.statistics

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon, mask=None):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone."""
        del request, epsilon
        normalizer = cls.__new__(cls)
        normalizer._deviations, normalizer.statistics = saved
        normalizer._measure(dy, mask)
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
        doffset = self._narrow_total(dy)
        dgain = self._narrow_total(self._product(dy)) / scale
        of_dy = gain / scale
        of_deviations = of_dy * dgain / (scale * divisor)
        constant = of_dy * doffset / divisor
        through = self._keep(of_deviations * self._deviations + constant)
        dx = of_dy * dy - through
        return dx, dgain, doffset

    def _product(self, dy):
        if self._kept is None:
            return dy * self._deviations
        # Masked elements may be non-finite. They count 0 where no gradient arrives.
        return tf.math.multiply_no_nan(self._deviations, dy)

    def _keep(self, x):
        """`x` where the mask keeps it, 0 elsewhere, also where `x` is not finite."""
        if self._kept is None:
            return x
        return tf.math.multiply_no_nan(x, self._kept)

    def _narrow_total(self, x):
        return tf.cast(self._total(x), tf.float32)

    def _total(self, x):
        return tf.reduce_sum(tf.cast(x, tf.float64), self._axes)


def _as_numbers(mask, x):
    """1 where `mask` keeps an element, 0 elsewhere, broadcast to the rows of `x`."""
    kept = tf.cast(mask, tf.float32)
    if kept.shape[:-1].is_fully_defined() and kept.shape[:-1] == x.shape[:-1]:
        return kept
    channels = 1 if mask.shape[-1] == 1 else x.shape[-1]
    return tf.broadcast_to(kept, tf.stack([*sizes_of(x)[:-1], channels]))


def _count(kept):
    """The number of elements of a channel; a scalar if all have the same mask."""
    axes = list(range(len(kept.shape) - (kept.shape[-1] != 1)))
    return tf.reduce_sum(kept, axes)
