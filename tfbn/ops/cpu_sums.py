"""Batch normalisation by TensorFlow's CPU kernels, with a gradient by sums of its own.

Forward as `cpu_kernels`. TensorFlow's own fused gradient adds one row after the other;
where oneDNN does not replace it, the gradients of 32,768 rows are off by 1e-5. These
are as exact as the forward pass, and take about as long.
"""

import tensorflow as tf

from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_moments
from tfbn.ops.requests import Request

NAME = "cpu_sums"


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return (
        request.operation == "batch_norm"
        and cpu_kernels.runs(request)
        and cpu_kernels.forward_is_exact(request)
    )


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others: oneDNN's fused gradient is faster."""
    return not request.onednn and cpu_kernels.is_faster(request)


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that it takes for calls with `dtype`."""
    del dtype
    return tf.float32


class Normalizer(cpu_kernels.Normalizer):
    """The normalisation of one float32 batch with the channels last."""

    def gradients(self, dy, gain):
        """The gradients of sum(dy * affine(gain, offset)) for x, gain and offset.

        By the formulas of Ioffe & Szegedy 2015, section 3: of x it is linear in dy and
        x, channel by channel.
        """
        rows, moments = self._rows, self._moments
        mean, remainder, scale, gain = (
            tf.cast(t, tf.float64)
            for t in (moments.mean, moments.remainder, moments.scale, gain)
        )
        dy_rows = tf.reshape(dy, [-1, rows.shape[1]])
        doffset = cpu_moments.sum_of_rows(dy_rows, self._height)
        along = cpu_moments.sum_of_products(rows, dy_rows, self._count, self._height)
        dgain = (along - (mean + remainder) * doffset) / scale
        count = cpu_moments.divisor_of_sums(self._count)
        # dx = of_dy * dy + of_x * (x - mean) + constant
        of_dy = gain / scale
        of_x = -of_dy * dgain / (count * scale)
        constant = -of_dy * doffset / count - of_x * remainder
        of_dy, of_x, constant, dgain, doffset = (
            tf.cast(t, tf.float32) for t in (of_dy, of_x, constant, dgain, doffset)
        )
        of_rows = cpu_kernels.affine(rows, moments.mean, of_x, constant)
        dx = of_dy * dy + tf.reshape(of_rows, tf.shape(dy))
        return dx, dgain, doffset
