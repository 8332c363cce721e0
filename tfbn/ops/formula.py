"""Batch normalisation by its formulas, in plain operations: serves every call.

Compiled by XLA it is also the fastest: each pass over the data becomes one loop.
"""

import functools

import tensorflow as tf

from tfbn import _compat
from tfbn.ops import sums
from tfbn.ops.accelerator_batch import make_batch
from tfbn.ops.batch import Batch
from tfbn.ops.batch import along_axis
from tfbn.ops.batch import upcast
from tfbn.ops.batch import wide_dtype
from tfbn.ops.requests import Request
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid
from tfbn.ops.statistics import rounded_sum

NAME = "formula"


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return request.operation in ("batch_norm", "normalize")


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others: nothing comes after it."""
    del request
    return True


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that it takes for calls with `dtype`."""
    return wide_dtype(dtype)


def normalize(x, mean, gain, offset, request, compute=None):
    """`gain * (x - mean) + offset`; the last three are `[channels]`.

    The sums of its gradient are those of `Batch`: TensorFlow's own would be long ones.

    Args:
        compute: a function of the first four that returns it, or None: the formula.
    """
    tensors = x, mean, gain, offset
    compute = compute or functools.partial(affine_of, request=request)
    if _needs_no_gradient(tensors, request):
        return compute(*tensors)

    @tf.custom_gradient
    def normalized(x, mean, gain, offset):
        def gradients(dy):
            batch = make_batch(dy, request)
            wide_dy = upcast(dy)
            viewed = batch.view(wide_dy)
            deviations = batch.view(upcast(x)) - batch.statistic(mean)
            totals = batch.total(viewed * deviations, viewed)
            dgain, doffset = (tf.squeeze(batch.vector(total), 0) for total in totals)
            dx = wide_dy * along_axis(gain, x, request.axis)
            return tf.cast(dx, x.dtype), -gain * doffset, dgain, doffset

        return compute(x, mean, gain, offset), gradients

    return normalized(*tensors)


def _needs_no_gradient(tensors, request):
    """Whether nobody derives it, or converters have to know its operations."""
    if request.exported:
        return True
    # Eagerly, a gradient of its own takes time even where there is no tape.
    return tf.executing_eagerly() and not _compat.is_recorded(tensors)


def affine_of(x, mean, gain, offset, request):
    """`gain * (x - mean) + offset`, for TensorFlow to differentiate."""
    if request.exported:
        offset = offset - mean * gain
        gain, offset = (along_axis(s, x, request.axis) for s in (gain, offset))
        return x * gain + offset
    mean, gain, offset = (along_axis(s, x, request.axis) for s in (mean, gain, offset))
    return (x - mean) * gain + offset


class Normalizer:
    """The normalisation of one batch. Differentiable in `x`.

    Attributes:
        statistics: `[groups, channels]`; for groups see `Batch`.
    """

    def __init__(self, x, request, epsilon, mask=None):
        self._batch = batch = make_batch(x, request, mask)
        viewed = batch.view(x)
        self._x = upcast(viewed)
        self._moments = self._moments_of(self._x, viewed, batch, epsilon)
        self.statistics = Statistics(*map(batch.vector, self._moments))

    @property
    def saved(self):
        """The tensors from which `of_saved` makes it again."""
        return self._x, self._moments

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon, mask=None):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone.

        Without replicas, whose counts are not among them.
        """
        del epsilon
        normalizer = cls.__new__(cls)
        normalizer._batch = batch = make_batch(dy, request, mask)
        normalizer._x, normalizer._moments = saved
        normalizer.statistics = Statistics(*map(batch.vector, normalizer._moments))
        return normalizer

    def _moments_of(self, x, sampled, batch, epsilon):
        """The `Statistics` of `x`; `sampled` is the same in the dtype of the input."""
        del sampled
        return moments(x, batch, epsilon)

    def averaged_statistics(self):
        """The means over the groups, `[channels]`, constants for a gradient."""
        return self._batch.averaged(self.statistics).map(tf.stop_gradient)

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both are `[groups, channels]`."""
        gain, offset = (self._batch.statistic(v) for v in (gain, offset))
        return self._batch.restore(affine(self._x, self._moments, gain, offset))

    def gradients(self, dy, gain):
        """The gradients of sum(dy * affine(gain, offset)) for x, gain and offset."""
        batch = self._batch
        gain, dy = batch.statistic(gain), batch.view(dy)
        dx, dgain, doffset = gradients(self._x, self._moments, batch, dy, gain)
        return batch.restore(dx), batch.vector(dgain), batch.vector(doffset)


def affine(x, statistics, gain, offset):
    """`gain * (x - mean) / scale + offset`."""
    gain = gain / statistics.scale
    return (x - statistics.mean) * gain + (offset - statistics.remainder * gain)


def gradients(x, statistics, batch: Batch, dy, gain):
    """Those of sum(dy * affine(x, statistics, gain, offset)) for x, gain and offset.

    By the formulas of Ioffe & Szegedy 2015, section 3.
    """
    inverse = 1.0 / statistics.scale
    normalized = (x - statistics.mean - statistics.remainder) * inverse
    dgain, doffset = batch.total(masked_product(normalized, dy, batch), dy)
    divisor = batch.divisor
    slope, level = (total / divisor for total in batch.totals(dgain, doffset))
    through_moments = batch.keep(normalized * slope + level)
    return gain * inverse * (dy - through_moments), dgain, doffset


def mean(x, sampled, batch: Batch):
    """The `(mean, remainder)` of `Statistics` for a viewed `x`, on this replica.

    Args:
        sampled: `x`, or the same in half precision, to take the shift from.
    """
    # A float32 sum of data with a large offset has only its first digits right.
    shift = shift_of(sampled, batch)
    return rounded_sum(shift, batch.mean(x - shift))


def moments(x, batch: Batch, epsilon):
    """The `Statistics` of a viewed `x`, in two passes."""
    rounded, remainder = mean(x, x, batch)
    variance = batch.mean(tf.square(x - rounded - remainder))
    return statistics(batch, rounded, remainder, variance, epsilon)


def statistics(batch: Batch, mean, remainder, variance, epsilon):
    """`Statistics`, each of the view's rank, of the moments on this replica."""
    mean, remainder, variance = batch.join(mean, remainder, variance)
    scale = tf.sqrt(variance + epsilon)
    valid = is_valid(batch.count, mean, variance)
    return Statistics(mean, remainder, variance, scale, valid)


def shift_of(x, batch: Batch):
    """Roughly the mean. A constant for the gradient, for no result depends on it."""
    shift = tf.stop_gradient(batch.near_mean(x))
    return sums.kept_apart(shift) if batch.compiled else shift


def masked_product(normalized, dy, batch: Batch):
    """`normalized * dy`, and 0 where dy is 0."""
    if batch.mask is None:
        return normalized * dy
    # Masked elements may be non-finite. They count 0 where no gradient arrives.
    return tf.math.multiply_no_nan(normalized, dy)
