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
) -> tuple[tf.Tensor, tf.Tensor]:
    """Batch Renormalization's r and d (Ioffe 2017, Algorithm 1), `[channels]` each.

    `r = clip(sigma_B / sigma, 1 / rmax, rmax)`,
    `d = clip((mu_B - mu) / sigma, -dmax, dmax)`, constants for the gradient.

    Args:
        statistics: `Statistics` of the batch, mu_B and sigma_B.
        moving_mean, moving_stddev: `[channels]`, mu and sigma before this step's
            update.
        rmax: scalar; a value below 1 counts as 1.
        dmax: scalar; a value below 0 counts as 0.
        stddev_floor: float, the lower bound of sigma, against division by zero.
    """
    dtype = statistics.mean.dtype
    rmax = tf.maximum(tf.cast(rmax, dtype), 1.0)
    dmax = tf.maximum(tf.cast(dmax, dtype), 0.0)
    sigma = tf.maximum(tf.cast(moving_stddev, dtype), stddev_floor)
    r = tf.clip_by_value(statistics.scale / sigma, 1.0 / rmax, rmax)
    drift = statistics.mean - tf.cast(moving_mean, dtype) + statistics.remainder
    d = tf.clip_by_value(drift / sigma, -dmax, dmax)
    return tf.stop_gradient(r), tf.stop_gradient(d)


def moving_average(
    average: tf.Tensor, value: tf.Tensor, momentum: float, valid: tf.Tensor
) -> tf.Tensor:
    """`momentum * average + (1 - momentum) * value`; `average` if not `valid`."""
    average = tf.convert_to_tensor(average)
    value = tf.cast(value, average.dtype)
    return tf.where(valid, average * momentum + value * (1.0 - momentum), average)


def variance_of_stddev(stddev: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The variance v with `sqrt(v + epsilon) = stddev`; 0 if there is none."""
    return tf.nn.relu(tf.square(stddev) - epsilon)


def stddev_of_variance(variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """`sqrt(variance + epsilon)`."""
    return tf.sqrt(tf.convert_to_tensor(variance) + epsilon)
