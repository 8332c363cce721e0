"""Moving averages of statistics, and how Batch Renormalization uses them."""

import tensorflow as tf

from tfbn.ops.statistics import Statistics


def renorm_correction(
    statistics: Statistics,
    moving_mean: tf.Tensor,
    moving_stddev: tf.Tensor,
    *,
    rmax: float | tf.Tensor,
    dmax: float | tf.Tensor,
    stddev_floor: float,
    drift_correction: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch Renormalization's r and d (Ioffe 2017, Algorithm 1), `[channels]` each.

    `r = clip(sigma_B / sigma, 1 / rmax, rmax)`,
    `d = clip((mu_B - mu) / sigma, -dmax, dmax)`, constants for the gradient. With
    `drift_correction`, mu_B and sigma_B are divided by their common scale before:
    `s = exp(mean over channels of log(sigma_B / sigma))`, one for each virtual batch.

    Args:
        statistics: `Statistics` of the batch, mu_B and sigma_B.
        moving_mean, moving_stddev: `[channels]`, mu and sigma before this step's
            update.
        rmax: scalar; a value below 1 counts as 1.
        dmax: scalar; a value below 0 counts as 0.
        stddev_floor: float, the lower bound of sigma, against division by zero.
        drift_correction: bool, whether to take out the common scale.
    """
    dtype = statistics.mean.dtype
    rmax = tf.maximum(tf.cast(rmax, dtype), 1.0)
    dmax = tf.maximum(tf.cast(dmax, dtype), 0.0)
    sigma = tf.maximum(tf.cast(moving_stddev, dtype), stddev_floor)
    mean = tf.cast(moving_mean, dtype)
    ratio = statistics.scale / sigma
    drift = statistics.mean - mean + statistics.remainder
    if drift_correction:
        common = _common_scale(ratio, statistics.valid)
        ratio /= common
        # mu_B / s - mu, with the digits that the mean has against the deviation.
        drift = (drift - mean * (common - 1.0)) / common
    r = tf.clip_by_value(ratio, 1.0 / rmax, rmax)
    d = tf.clip_by_value(drift / sigma, -dmax, dmax)
    return tf.stop_gradient(r), tf.stop_gradient(d)


def _common_scale(ratio, valid):
    """The geometric mean over the channels, of those that have one."""
    found = tf.math.is_finite(ratio) & valid
    logs = tf.where(found, tf.math.log(tf.where(found, ratio, 1.0)), 0.0)
    count = tf.reduce_sum(tf.cast(found, ratio.dtype), axis=-1, keepdims=True)
    total = tf.reduce_sum(logs, axis=-1, keepdims=True)
    return tf.exp(total / tf.maximum(count, 1.0))


def warmed_up_momentum(
    momentum: float, step: tf.Tensor, dtype: tf.DType | str
) -> tf.Tensor:
    """`min(momentum, (1 + step) / (10 + step))`, a scalar.

    Args:
        step: integer scalar >= 0, the number of previous updates.
        dtype: that of the averages.
    """
    updates = tf.cast(step, dtype)
    return tf.minimum(tf.cast(momentum, dtype), (1.0 + updates) / (10.0 + updates))


def moving_average(
    average: tf.Tensor,
    value: tf.Tensor,
    momentum: float | tf.Tensor,
    valid: tf.Tensor,
) -> tf.Tensor:
    """`momentum * average + (1 - momentum) * value`; `average` where not `valid`."""
    average = tf.convert_to_tensor(average)
    value = tf.cast(value, average.dtype)
    if isinstance(momentum, float) and not momentum:
        return tf.where(valid, value, average)
    return tf.where(valid, average * momentum + value * (1.0 - momentum), average)


def variance_of_stddev(stddev: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The variance v with `sqrt(v + epsilon) = stddev`; 0 if there is none."""
    return tf.nn.relu(tf.square(stddev) - epsilon)


def stddev_of_variance(variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`sqrt(variance + epsilon)`."""
    return tf.sqrt(tf.convert_to_tensor(variance) + epsilon)
