"""Means and sums of squares of batches, joined into those of all of them together."""

import numpy as np
import tensorflow as tf


class Pooled:
    """The statistics of some elements of each channel, in float64.

    Attributes:
        count: `[channels]`, the number of elements.
        mean: `[channels]`, their mean.
        squares: `[channels]`, the sum of `(x - mean)^2`.
        norm: `[channels]`, the mean of the batches' norms, weighted with their counts;
            0 for layers without norm.
    """

    def __init__(self, count=0.0, mean=0.0, squares=0.0, norm=0.0):
        self.count = np.asarray(count, np.float64)
        self.mean = np.asarray(mean, np.float64)
        self.squares = np.asarray(squares, np.float64)
        self.norm = np.asarray(norm, np.float64)

    @property
    def variance(self) -> np.ndarray:
        """The biased variance, `[channels]`; 0 without elements."""
        return self.squares / np.maximum(self.count, 1.0)

    def add(self, other: "Pooled") -> None:
        """Joins the elements of another in (Chan, Golub & LeVeque 1979).

        Sums of squares about the means do not cancel, as E[x^2] - E[x]^2 does for data
        with an offset.
        """
        count = self.count + other.count
        weight = other.count / np.maximum(count, 1.0)
        delta = other.mean - self.mean
        self.squares = self.squares + other.squares + delta**2 * self.count * weight
        self.mean = self.mean + delta * weight
        self.norm = self.norm + (other.norm - self.norm) * weight
        self.count = count


def kept_elements(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """1 for each element of `x` that the mask keeps, else 0: float64, as `x`."""
    if mask is None:
        return tf.ones_like(x, tf.float64)
    mask = tf.cast(tf.convert_to_tensor(mask), tf.float64)
    return tf.broadcast_to(mask[..., None], tf.shape(x))


def moments(
    x: tf.Tensor, kept: tf.Tensor, axes: list[int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Count, mean and centred sum of squares of the kept elements over some axes."""
    count = tf.reduce_sum(kept, axes, keepdims=True)
    x = tf.where(kept > 0, x, 0.0)
    mean = tf.reduce_sum(x, axes, keepdims=True) / tf.maximum(count, 1.0)
    squares = tf.reduce_sum(kept * tf.square(x - mean), axes, keepdims=True)
    return count, mean, squares
