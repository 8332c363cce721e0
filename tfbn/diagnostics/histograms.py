"""Histograms of finite values, by TensorFlow operations."""

import numpy as np
import tensorflow as tf


def finite_range(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `(least, largest)` of the finite values."""
    finite = tf.math.is_finite(values)
    low = tf.reduce_min(tf.where(finite, values, np.inf))
    return low, tf.reduce_max(tf.where(finite, values, -np.inf))


def counts_in_bins(
    values: tf.Tensor, low: tf.Tensor, high: tf.Tensor, num_bins: int
) -> tf.Tensor:
    """Returns how many finite values are in each of the equal bins of a range."""
    finite = tf.math.is_finite(values)
    # Halved, because the range of finite values can overflow.
    width = 0.5 * high - 0.5 * low
    place = tf.where(width > 0.0, (0.5 * values - 0.5 * low) / width, 0.5)
    place = tf.where(finite, place, 0.0)
    bins = tf.minimum(tf.cast(place * num_bins, tf.int32), num_bins - 1)
    bins = tf.where(finite, bins, num_bins)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(bins), bins, num_bins + 1)
    return counts[:num_bins]


def edges_of_bins(low: float, high: float, num_bins: int) -> np.ndarray:
    """Returns the edges of the bins; NaN for the range of no finite value."""
    if low > high:  # nothing finite
        return np.full(num_bins + 1, np.nan)
    if low == high:  # all in the middle of bins of width 1 in total, as in NumPy
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, num_bins + 1)
