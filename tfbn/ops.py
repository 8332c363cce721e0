"""The numerics: statistics of a batch, normalisation, averages, noise.

The only module with raw TensorFlow operations. The layers hold state and
configuration and call the functions here.

Terms. A *channel* is an index along the normalised `axis`; everything else is "the
batch". Statistics have shape `[channels]`. `mask` is boolean, broadcastable to the
input; elements where it is False take no part in the statistics.

Precision. Statistics are taken of data shifted by its (rounded) mean, and outputs are
made by subtracting before scaling, so results keep their digits whatever the offset of
the data: `x * inv + (beta - mean * inv)`, the usual form, loses one decimal digit for
each power of ten between the mean and the standard deviation.
"""

from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


class Statistics(NamedTuple):
    """What one batch says of each channel.

    Attributes:
        mean: `[channels]`.
        remainder: `[channels]`, what `mean` lost in rounding: `mean + remainder` is
            exact to some ulp of the spread even where the mean is much larger.
        spread: `[channels]`, the biased variance or the l_p norm.
        scale: `[channels]`, what the centred input is divided by: `sqrt(variance +
            epsilon)` or `norm + epsilon`.
        valid: scalar bool; False for an empty batch or one with a non-finite
            statistic, which must not enter a moving average.
    """

    mean: tf.Tensor
    remainder: tf.Tensor
    spread: tf.Tensor
    scale: tf.Tensor
    valid: tf.Tensor


def upcast(inputs):
    """`inputs` in the dtype of the computation: float32 for half precision."""
    inputs = tf.convert_to_tensor(inputs)
    return tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs


def batch_norm(
    x, gamma, beta, *, axis, epsilon, mask=None, synchronized=False, correction=None
):
    """Normalises with the statistics of the batch (Ioffe & Szegedy 2015).

    `y = gamma * (r * (x - mean) / sqrt(var + epsilon) + d) + beta`, with the biased
    variance. Gradients flow through mean and variance, not through r and d.

    Args:
        x: float32 or float64 tensor.
        gamma: `[channels]` or None (1).
        beta: `[channels]` or None (0).
        axis: int >= 0, the channel axis.
        epsilon: float.
        mask: boolean tensor of the rank of `x`, or None.
        synchronized: bool, take the statistics over all replicas of the current
            `tf.distribute` strategy.
        correction: None (r = 1, d = 0) or a function of the batch's `Statistics` that
            returns Batch Renormalization's `(r, d)`, both `[channels]`.

    Returns:
        `(y, statistics)`; `statistics.spread` is the variance.
    """
    if mask is None and not synchronized and _can_fuse(x, axis):
        return _fused_batch_norm(x, gamma, beta, epsilon, correction)
    reducer = _Reducer(x, axis, mask, synchronized)
    *mean, centred = _centre(x, reducer)
    variance = reducer.mean(tf.square(centred))
    statistics = _statistics(*mean, variance, tf.sqrt(variance + epsilon), reducer)
    r, d = (1.0, 0.0) if correction is None else correction(statistics)
    return _affine(centred, r / statistics.scale, d, gamma, beta, axis), statistics


def lp_batch_norm(
    x,
    gamma,
    beta,
    *,
    axis,
    epsilon,
    order,
    centered=False,
    literal=False,
    mask=None,
    synchronized=False,
):
    """Normalises with the batch's mean and l_p norm (Santurkar et al. 2018, sec. 3.3).

    `y = gamma * (x - mean(x)) / (norm_p(x) + epsilon) + beta`.

    Args:
        x, gamma, beta, axis, epsilon, mask, synchronized: as in `batch_norm`.
        order: 1, 2 or "inf".
        centered: bool, take the norm of `x - mean(x)` instead of `x`.
        literal: bool, divide the norm of the m elements by m. Otherwise the norm is
            the power mean `(mean |x|^p)^(1/p)`, and max|x| for "inf".

    Returns:
        `(y, statistics)`; `statistics.spread` is the norm.
    """
    reducer = _Reducer(x, axis, mask, synchronized)
    *mean, centred = _centre(x, reducer)
    norm = _power_mean(centred if centered else x, order, reducer)
    if literal:
        norm *= tf.cast(reducer.count, x.dtype) ** {1: 0.0, 2: -0.5, "inf": -1.0}[order]
    statistics = _statistics(*mean, norm, norm + epsilon, reducer)
    return _affine(centred, 1.0 / statistics.scale, 0.0, gamma, beta, axis), statistics


def normalize(x, mean, scale, gamma, beta, *, axis):
    """`gamma * (x - mean) / scale + beta` with given `[channels]` statistics."""
    centred = x - _broadcast(mean, x, axis)
    return _affine(centred, 1.0 / tf.cast(scale, x.dtype), 0.0, gamma, beta, axis)


def renorm_correction(
    statistics, moving_mean, moving_stddev, *, rmax, dmax, stddev_floor
):
    """Batch Renormalization's r and d (Ioffe 2017, Algorithm 1), `[channels]` each.

    `r = clip(sigma_B / sigma, 1 / rmax, rmax)`,
    `d = clip((mu_B - mu) / sigma, -dmax, dmax)`, constants for the gradient.

    Args:
        statistics: `Statistics` of the batch, mu_B and sigma_B.
        moving_mean, moving_stddev: `[channels]`, mu and sigma before this step's
            update.
        rmax: scalar; a value below 1 counts as 1.
        dmax: scalar; a value below 0 counts as 0.
        stddev_floor: float, sigma's lower bound, against a division by zero.
    """
    dtype = statistics.mean.dtype
    rmax = tf.maximum(tf.cast(rmax, dtype), 1.0)
    dmax = tf.maximum(tf.cast(dmax, dtype), 0.0)
    sigma = tf.maximum(tf.cast(moving_stddev, dtype), stddev_floor)
    r = tf.clip_by_value(statistics.scale / sigma, 1.0 / rmax, rmax)
    drift = statistics.mean - tf.cast(moving_mean, dtype) + statistics.remainder
    d = tf.clip_by_value(drift / sigma, -dmax, dmax)
    return tf.stop_gradient(r), tf.stop_gradient(d)


def moving_average(average, value, momentum, valid):
    """`momentum * average + (1 - momentum) * value`; `average` if not `valid`."""
    average = tf.convert_to_tensor(average)
    value = tf.cast(value, average.dtype)
    return tf.where(valid, average * momentum + value * (1.0 - momentum), average)


def variance_of_stddev(stddev, epsilon):
    """The variance v for which `sqrt(v + epsilon)` is `stddev`; 0 if there is none."""
    return tf.nn.relu(tf.square(stddev) - epsilon)


def stddev_of_variance(variance, epsilon):
    """`sqrt(variance + epsilon)`."""
    return tf.sqrt(tf.convert_to_tensor(variance) + epsilon)


def channel_mask(mask, x, axis):
    """A Keras mask, which leaves out the channel axis of `x`, with the rank of `x`.

    Args:
        mask: tensor of rank 1 to `rank(x) - 1`; it covers the axes of `x` other than
            `axis`, from the first on.
    """
    mask = tf.cast(mask, tf.bool)
    for _ in range(len(x.shape) - 1 - len(mask.shape)):
        mask = tf.expand_dims(mask, -1)
    return tf.expand_dims(mask, axis)


def perturb(x, seed, *, axis, mean_range, stddev_max, mean_jitter, stddev_jitter):
    """Santurkar's noise: `s * x + m` with a distribution drawn anew for each channel.

    For each channel mean ~ U(-mean_range, mean_range) and stddev ~ U(1, stddev_max);
    for each element m ~ U(mean - mean_jitter, mean + mean_jitter) and
    s ~ N(stddev, stddev_jitter^2) (arXiv 1805.11604, Algorithm 1).

    Args:
        x: float tensor.
        seed: integer tensor of shape `[2]`. The same seed gives the same noise on
            every device, eager or compiled.
        axis: int >= 0, the channel axis.
    """
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4, alg=_PHILOX))
    channels = [tf.shape(x)[axis]]
    mean = _uniform(channels, seeds[0], -mean_range, mean_range)
    stddev = _uniform(channels, seeds[1], 1.0, stddev_max)
    shift = _uniform(tf.shape(x), seeds[2], -mean_jitter, mean_jitter)
    scale = stddev_jitter * _normal(tf.shape(x), seeds[3])
    scale = tf.cast(_broadcast(stddev, x, axis, tf.float32) + scale, x.dtype)
    shift = tf.cast(_broadcast(mean, x, axis, tf.float32) + shift, x.dtype)
    return scale * x + shift


def _uniform(shape, seed, low, high):
    """float32 samples of U(low, high), of 23 random bits each."""
    return low + (high - low) * _unit_interval(shape, seed)


def _normal(shape, seed):
    """float32 samples of N(0, 1), by the inverse of its distribution function."""
    return 2.0**0.5 * tf.math.erfinv(2.0 * _unit_interval(shape, seed) - 1.0)


def _unit_interval(shape, seed):
    """Odd multiples of 2^-24 in (0, 1).

    Made of integers, because with the same generator and seed TensorFlow's own float
    samples differ between its kernels and XLA; its integers agree.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg=_PHILOX
    )
    bits = tf.bitwise.right_shift(tf.bitcast(bits, tf.uint32), 9)
    return (tf.cast(tf.cast(bits, tf.int32), tf.float32) + 0.5) * 2.0**-23


# Named, because "auto" picks another generator on another device or under XLA.
_PHILOX = "philox"


def _can_fuse(x, axis):
    """Whether TensorFlow's fused kernel serves `x`: float32, channels last, no XLA.

    XLA expands the fused operation into E[x^2] - E[x]^2 and fuses plain ones itself.
    """
    compiled = (
        not tf.executing_eagerly()
        and control_flow_util.GraphOrParentsInXlaContext(
            tf.compat.v1.get_default_graph()
        )
    )
    return x.dtype == tf.float32 and axis == len(x.shape) - 1 and not compiled


def _fused_batch_norm(x, gamma, beta, epsilon, correction):
    """`batch_norm` by `FusedBatchNormV3`, for what `_can_fuse`."""
    channels = x.shape[-1]
    rows = tf.reshape(x, [-1, 1, 1, channels])
    shift = _near_mean(rows)
    gamma = tf.ones([channels]) if gamma is None else tf.cast(gamma, x.dtype)
    beta = tf.zeros([channels]) if beta is None else tf.cast(beta, x.dtype)
    fused = _fused_plain if correction is None else _fused_renorm(correction)
    y, statistics = fused(rows - shift, gamma, beta, epsilon, tf.reshape(shift, [-1]))
    return tf.reshape(y, tf.shape(x)), statistics


def _near_mean(rows):
    """The mean of the first rows, a constant for the gradient.

    The kernel is exact only where the mean is not large against the spread. These few
    rows are near enough, and an outlier among them does no harm. No rows: zeros.
    """
    first = tf.stop_gradient(rows[:_SHIFT_ROWS])
    count = tf.cast(tf.maximum(tf.shape(first)[0], 1), first.dtype)
    return tf.reduce_sum(first, axis=0, keepdims=True) / count


_SHIFT_ROWS = 64


def _fused_plain(rows, gamma, beta, epsilon, shift):
    y, *moments = _fused_kernel(rows, gamma, beta, epsilon)[:3]
    return y, _fused_statistics(rows, *moments, epsilon, shift)


def _fused_renorm(correction):
    """The fused normalisation with r and d, in no more passes than without."""

    def fused(rows, gamma, beta, epsilon, shift):
        ones, zeros = tf.ones_like(gamma), tf.zeros_like(gamma)
        forward = [
            tf.stop_gradient(t) for t in _fused_kernel(rows, ones, zeros, epsilon)
        ]
        normalized, mean, variance, *reserved = forward
        statistics = _fused_statistics(rows, mean, variance, epsilon, shift)
        r, d = correction(statistics)

        @tf.custom_gradient
        def affine(rows, gamma, beta):
            def gradient(dy):
                # With scale gamma * r, the kernel's dscale is the sum of dy * x_hat.
                dx, dscale, doffset, _, _ = tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=dy,
                    x=rows,
                    scale=gamma * r,
                    reserve_space_1=reserved[0],
                    reserve_space_2=reserved[1],
                    reserve_space_3=reserved[2],
                    epsilon=epsilon,
                )
                return dx, r * dscale + d * doffset, doffset

            return normalized * (gamma * r) + (gamma * d + beta), gradient

        return affine(rows, gamma, beta), statistics

    return fused


def _fused_kernel(rows, scale, offset, epsilon):
    """`(y, mean, Bessel's variance, ...)` of rows `[n, 1, 1, channels]`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=rows, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon
    )


def _fused_statistics(rows, mean, variance, epsilon, shift):
    size = tf.cast(tf.shape(rows)[0], rows.dtype)
    variance *= (size - 1.0) / size  # the kernel divides by size - 1
    total = shift + mean
    remainder = mean - (total - shift)
    valid = tf.reduce_all(tf.math.is_finite(total) & tf.math.is_finite(variance))
    return Statistics(
        total, remainder, variance, tf.sqrt(variance + epsilon), valid & (size > 0.0)
    )


class _Reducer:
    """Sums over the batch: masked, and across replicas if asked.

    Results keep the reduced axes with length 1.
    """

    def __init__(self, x, axis, mask, synchronized):
        self.axis = axis
        self.axes = [i for i in range(len(x.shape)) if i != axis]
        self.mask = None if mask is None else tf.broadcast_to(mask, tf.shape(x))
        self._replicas = _replica_context() if synchronized else None
        counted = tf.ones_like(x) if mask is None else tf.cast(self.mask, x.dtype)
        self._plain = mask is None and self._replicas is None
        if self._plain:
            self.count = tf.reduce_prod(tf.gather(tf.shape(x), self.axes))
        else:
            self.count = self._all_reduce(self._sum(counted), "SUM")

    def mean(self, x):
        """The mean over the batch; 0 if there is nothing in it."""
        if self._plain:
            return self._in_stages(tf.reduce_mean, x)
        total = self._all_reduce(self._sum(self._masked(x)), "SUM")
        return total / tf.maximum(self.count, 1.0)

    def max(self, x):
        """The maximum over the batch of a non-negative `x`."""
        return self._all_reduce(
            tf.reduce_max(self._masked(x), self.axes, keepdims=True), "MAX"
        )

    def valid(self, *statistics):
        """Whether the batch has elements and all its statistics are finite."""
        finite = [tf.reduce_all(tf.math.is_finite(s)) for s in statistics]
        return tf.reduce_all([tf.reduce_all(self.count > 0), *finite])

    def _masked(self, x):
        # Not a product: what is masked may be non-finite.
        return x if self.mask is None else tf.where(self.mask, x, tf.zeros_like(x))

    def _sum(self, x):
        return self._in_stages(tf.reduce_sum, x)

    def _in_stages(self, reduce, x):
        # Each example by itself, then all: float32 sums that a device takes one element
        # after the other lose digits with their length.
        for axes in (self.axes[1:], self.axes[:1]):
            x = reduce(x, axes, keepdims=True) if axes else x
        return x

    def _all_reduce(self, x, operation):
        if self._replicas is None:
            return x
        if operation == "SUM":
            return self._replicas.all_reduce(tf.distribute.ReduceOp.SUM, x)
        # There is no MAX among the reductions of tf.distribute.
        return tf.reduce_max(self._replicas.all_gather(x[tf.newaxis], axis=0), 0)


def _replica_context():
    """The replica context to reduce across, or None where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def _centre(x, reducer):
    """`(mean, remainder, x - mean)`, with the digits of the centred data kept.

    A float32 mean of data with a large offset is off by many ulp of the spread, so
    what it leaves over is subtracted as well. The first mean is a constant for the
    gradient: the result does not depend on it.
    """
    shift = tf.stop_gradient(reducer.mean(x))
    x = x - shift
    rest = reducer.mean(x)
    mean = shift + rest
    return mean, rest - (mean - shift), x - rest


def _power_mean(x, order, reducer):
    if order == 1:
        return reducer.mean(tf.abs(x))
    if order == "inf":
        return reducer.max(tf.abs(x))
    square = reducer.mean(tf.square(x))
    # The gradient of sqrt at 0 is infinite; a constant-zero channel gets 0 instead.
    positive = square > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, square, 1.0)), 0.0)


def _statistics(mean, remainder, spread, scale, reducer):
    """`Statistics` from those that still have the batch axes, with length 1."""
    vectors = [tf.reshape(s, [-1]) for s in (mean, remainder, spread, scale)]
    return Statistics(*vectors, reducer.valid(mean, spread))


def _affine(centred, scale, offset, gamma, beta, axis):
    """`gamma * (centred * scale + offset) + beta`, in one pass over `centred`."""
    if gamma is not None:
        gamma = tf.cast(gamma, centred.dtype)
        scale, offset = gamma * scale, gamma * offset
    if beta is not None:
        offset = offset + tf.cast(beta, centred.dtype)
    scale, offset = (_broadcast(s, centred, axis) for s in (scale, offset))
    return centred * scale + offset


def _broadcast(statistic, x, axis, dtype=None):
    """A `[channels]` statistic (or a scalar), shaped to broadcast against `x`."""
    statistic = tf.convert_to_tensor(statistic, dtype_hint=dtype or x.dtype)
    statistic = tf.cast(statistic, dtype or x.dtype)
    if not statistic.shape.rank:
        return statistic
    return tf.reshape(statistic, [-1 if i == axis else 1 for i in range(len(x.shape))])
