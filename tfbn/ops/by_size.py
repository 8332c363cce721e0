"""Batch normalisation on a CPU where only the running graph knows how large a batch is.

The graph has both ways, TensorFlow's kernels for large inputs and few plain operations
for small ones, and each run takes one. A call of the kernels wakes other threads, which
costs more than a small input does.
"""

import functools

import tensorflow as tf

from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_sums
from tfbn.ops import formula
from tfbn.ops import wide_sums
from tfbn.ops.batch import upcast
from tfbn.ops.requests import Request

NAME = "by_size"


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return _kernels(request).supports(request)


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others, of inputs that may be small."""
    return request.num_rows is None


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that it takes for calls with `dtype`."""
    return cpu_kernels.compute_dtype(dtype)


class Normalizer:
    """The normalisation of one float32 or bfloat16 batch with the channels last.

    Attributes:
        statistics: `[channels]`, float32.
        saved: the tensors from which `of_saved` makes it again: the data of each way,
            no rows of the way that was not taken, and the moments of those data.
    """

    def __init__(self, x, request, epsilon, mask=None):
        del mask  # none is supported
        self._like, self._request, self._epsilon = x, request, epsilon

        def measured(implementation):
            wide = tf.cast(x, implementation.compute_dtype(x.dtype))
            normalizer = implementation.Normalizer(wide, request, epsilon)
            data, moments = normalizer.saved
            held = {
                way: tf.zeros([0, x.shape[-1]], way.compute_dtype(x.dtype))
                for way in (_kernels(request), wide_sums)
            }
            held[implementation] = tf.reshape(data, [-1, x.shape[-1]])
            return (tuple(held.values()), moments), normalizer.statistics

        self.saved, self.statistics = self._choose(measured)

    def _choose(self, function):
        """`function(implementation)` of the one that serves the size."""
        return tf.cond(
            is_large(self._like),
            lambda: function(_kernels(self._request)),
            lambda: function(wide_sums),
        )

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon, mask=None):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone."""
        del mask  # none is supported
        normalizer = cls.__new__(cls)
        normalizer._like, normalizer._request = dy, request
        normalizer._epsilon = epsilon
        normalizer.saved, normalizer.statistics = saved, saved[1]
        return normalizer

    def averaged_statistics(self):
        """The statistics, `[channels]`, constants for a gradient."""
        return self.statistics.map(tf.stop_gradient)  # there is one group

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both are `[channels]`."""

        def run(implementation):
            y = self._again(implementation, self._like).affine(gain, offset)
            return tf.cast(y, self._like.dtype)

        return self._choose(run)

    def gradients(self, dy, gain):
        """The gradients of sum(dy * affine(gain, offset)) for x, gain and offset."""

        def run(implementation):
            wide = tf.cast(dy, implementation.compute_dtype(dy.dtype))
            dx, *rest = self._again(implementation, wide).gradients(wide, gain)
            return tf.cast(dx, dy.dtype), *rest

        return self._choose(run)

    def _again(self, implementation, like):
        """The implementation's normalizer of the batch."""
        (rows, deviations), moments = self.saved
        data = rows
        if implementation is wide_sums:
            data = tf.reshape(deviations, tf.shape(like))
        return implementation.Normalizer.of_saved(
            (data, moments), like, self._request, self._epsilon
        )


def normalize(x, mean, gain, offset, request):
    """`gain * (x - mean) + offset` on the last axis; the others are `[channels]`."""

    def affine(x, mean, gain, offset):
        def plain():
            y = formula.affine_of(upcast(x), mean, gain, offset, request)
            return tf.cast(y, x.dtype)

        kernel = functools.partial(cpu_kernels.affine_of, x, mean, gain, offset)
        return tf.cond(is_large(x), kernel, plain)

    return formula.normalize(x, mean, gain, offset, request, affine)


def is_large(x):
    """Whether the kernels are faster, as a tensor."""
    return tf.size(x) >= cpu_kernels.MIN_ELEMENTS


def _kernels(request):
    # Without oneDNN, the gradient of TensorFlow's fused kernel is not exact.
    uses_sums = request.operation == "batch_norm" and not request.onednn
    return cpu_sums if uses_sums else cpu_kernels
