"""Batch normalisation and Batch Renormalization, and which code serves them."""

import tensorflow as tf

from tfbn import _compat
from tfbn.ops import batch as batches
from tfbn.ops import formula
from tfbn.ops import kernels
from tfbn.ops import sums


def serving_path(x, axis, *, mask=None, synchronized=False, virtual_batch_size=None):
    """What normalises `x`: "kernels" or "formula".

    | input                                                      | path    |
    |------------------------------------------------------------|---------|
    | half or float32, channels last, on a CPU, eagerly or graph | kernels |
    | float64                                                    | formula |
    | another channel axis                                       | formula |
    | under 2^15 elements, if their number is known              | formula |
    | over 4096 rows whose number has no divisor from 8 to 1024  | formula |
    | over 4096 rows, or any, of channels not in multiples of 4  | formula |
    | a mask                                                     | formula |
    | virtual batches                                            | formula |
    | synchronized over several replicas                         | formula |
    | compiled by XLA                                            | formula |
    | watched by a tf.autodiff.ForwardAccumulator                | formula |
    | the machine has a GPU or TPU                               | formula |

    The rank does not matter. Half precision is computed with as float32, but for
    bfloat16 on the first path, whose kernels have their own code for it.
    """
    if x.dtype == tf.float64 or axis != len(x.shape) - 1 or not kernels.serve(x):
        return "formula"
    if mask is not None or virtual_batch_size is not None:
        return "formula"
    if synchronized and batches.replica_context() is not None:
        return "formula"
    # The kernels have no derivative in forward mode. A GPU's hand other things from
    # forward to backward than a CPU's.
    if sums.compiled() or _compat.has_tangent([x]) or _has_accelerator():
        return "formula"
    return "kernels"


def batch_norm(x, gamma, beta, *, axis, epsilon, correction=None, **options):
    """Normalises with the statistics of the batch (Ioffe & Szegedy 2015).

    `y = gamma * (r * (x - mean) / sqrt(var + epsilon) + d) + beta`, with the biased
    variance. Derivatives of any order go through mean and variance. None go through r
    and d: second derivatives too take them for constants.

    In forward mode open the `tf.autodiff.ForwardAccumulator` inside the `tf.function`,
    if there is one. Around it, TensorFlow cannot tell the function that it is watched:
    on the path of the kernels a first derivative then fails and a second is wrong.

    Args:
        x: float tensor. Statistics are float32 where it is of half precision.
        gamma: `[channels]` or None (1).
        beta: `[channels]` or None (0).
        axis: int >= 0, the channel axis.
        epsilon: float.
        correction: None (r = 1, d = 0) or a function of the batch's `Statistics` that
            returns Batch Renormalization's `(r, d)`. Both have the shape of the
            statistics: `[channels]` or `[virtual batches, channels]`.
        **options: those of `Batch`: `mask`, a boolean tensor of the rank of `x`;
            `synchronized`, a bool; `virtual_batch_size`, an int.

    Returns:
        `(y, statistics)`: y in the dtype of `x`. `statistics.spread` is the variance.
        All are `[channels]`, means over the virtual batches if there are any; no
        gradient flows through them.
    """
    path = serving_path(x, axis, **options)
    if _is_widened(x, path):
        y, statistics = batch_norm(
            tf.cast(x, tf.float32),
            gamma,
            beta,
            axis=axis,
            epsilon=epsilon,
            correction=correction,
            **options,
        )
        return tf.cast(y, x.dtype), statistics
    if path == "kernels":
        normalizer = kernels.Normalizer(x, epsilon)
    else:
        normalizer = formula.Normalizer(x, batches.Batch(x, axis, **options), epsilon)
    gain, offset = _gain_and_offset(gamma, beta, normalizer.statistics, correction)

    @tf.custom_gradient
    def normalized(x, gain, offset):
        del x  # only for the gradient to arrive at: the normalizer has it
        return normalizer.affine(gain, offset), gradients

    def gradients(dy):
        if path == "kernels" and _compat.is_recorded([inputs, dy]):
            return _gradients_by_formula(inputs, dy, gain, axis, epsilon)
        return normalizer.gradients(dy, gain)

    inputs, y = x, normalized(x, gain, offset)
    return y, normalizer.averaged_statistics().map(tf.stop_gradient)


def _gradients_by_formula(x, dy, gain, axis, epsilon):
    """What the kernels' normalizer gives, where a tape records it.

    TensorFlow optimises derivatives of the kernels' conditionals into graphs that it
    cannot run (AlreadyExistsError of a TemporaryVariable) where memory is short.
    """
    wide = tf.cast(x, tf.float32)
    normalizer = formula.Normalizer(wide, batches.Batch(wide, axis), epsilon)
    dx, dgain, doffset = normalizer.gradients(tf.cast(dy, tf.float32), gain)
    return tf.cast(dx, x.dtype), dgain, doffset


def normalize(x, mean, scale, gamma, beta, *, axis):
    """`gamma * (x - mean) / scale + beta` with given `[channels]` statistics.

    Args:
        x: float tensor. It is computed with as float32 where of half precision.
    """
    path = serving_path(x, axis)
    if _is_widened(x, path):
        wide = tf.cast(x, tf.float32)
        return tf.cast(normalize(wide, mean, scale, gamma, beta, axis=axis), x.dtype)
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    mean, scale = (tf.cast(s, dtype) for s in (mean, scale))
    gain = 1.0 / scale if gamma is None else tf.cast(gamma, dtype) / scale
    offset = tf.zeros_like(mean) if beta is None else tf.cast(beta, dtype)
    if path == "kernels":
        return _affine_by_kernel(x, mean, gain, offset)
    mean, gain, offset = (batches.along_axis(s, x, axis) for s in (mean, gain, offset))
    return (x - mean) * gain + offset


def _is_widened(x, path):
    """Whether `x` is of a half precision that `path` serves as float32 only."""
    return x.dtype == tf.float16 or (x.dtype == tf.bfloat16 and path == "formula")


def _gain_and_offset(gamma, beta, statistics, correction):
    """gamma * r and gamma * d + beta, of the statistics' shape."""
    gain = tf.ones_like(statistics.scale)
    offset = tf.zeros_like(statistics.scale)
    if correction is not None:
        r, d = (tf.stop_gradient(c) for c in correction(statistics))
        gain, offset = gain * r, offset + d
    if gamma is not None:
        gain, offset = (tf.cast(gamma, gain.dtype) * t for t in (gain, offset))
    return gain, offset if beta is None else offset + tf.cast(beta, gain.dtype)


@tf.custom_gradient
def _affine_by_kernel(x, mean, gain, offset):
    """`gain * (x - mean) + offset` on the last axis."""
    rows = tf.reshape(x, [-1, x.shape[-1]])
    y = tf.reshape(kernels.affine(rows, mean, gain, offset), tf.shape(x))

    def gradient(dy):
        wide_dy, wide_x = batches.upcast(dy), batches.upcast(x)
        batch = batches.Batch(wide_x, len(x.shape) - 1)
        doffset, dgain = (
            tf.reshape(batch.total(batch.view(t)), tf.shape(gain))
            for t in (wide_dy, wide_dy * (wide_x - mean))
        )
        return tf.cast(wide_dy * gain, x.dtype), -gain * doffset, dgain, doffset

    return y, gradient


def _has_accelerator():
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
