"""Means and sums of squares of batches, joined into those of all of them together."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Pooled(NamedTuple):
    """The statistics of some elements of each channel, float64 tensors.

    Attributes:
        count: `[channels]`, the number of elements.
        mean: `[channels]`, their mean.
        squares: `[channels]`, the sum of `(x - mean)^2`.
        norm: `[channels]`, the mean of the batches' norms, weighted with their counts;
            0 for layers without norm.
    """

    count: tf.Tensor
    mean: tf.Tensor
    squares: tf.Tensor
    norm: tf.Tensor

    @property
    def variance(self) -> tf.Tensor:
        """The biased variance, `[channels]`; 0 without elements."""
        return self.squares / tf.maximum(self.count, 1.0)

    def joined(self, other: "Pooled") -> "Pooled":
        """The statistics of the elements of both (Chan, Golub & LeVeque 1979).

        Sums of squares about the means do not cancel, as E[x^2] - E[x]^2 does for data
        with an offset.
        """
        count = self.count + other.count
        weight = other.count / tf.maximum(count, 1.0)
        delta = other.mean - self.mean
        between = delta**2 * self.count * weight
        return Pooled(
            count=count,
            mean=self.mean + delta * weight,
            squares=self.squares + other.squares + between,
            norm=self.norm + (other.norm - self.norm) * weight,
        )


def kept_elements(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor | None:
    """1 for each element of `x` that the mask keeps, else 0, as `x`; None for all."""
    if mask is None:
        return None
    mask = tf.cast(tf.convert_to_tensor(mask), x.dtype)
    return tf.broadcast_to(mask[..., None], tf.shape(x))


def count_elements(
    x: tf.Tensor, kept: tf.Tensor | None, axes: Sequence[int]
) -> tf.Tensor:
    """The number of kept elements over some axes, which stay with size 1."""
    if kept is not None:
        return tf.reduce_sum(kept, axes, keepdims=True)
    sizes = [1 if i - len(x.shape) in axes else n for i, n in enumerate(x.shape)]
    return tf.fill(sizes, tf.cast(tf.size(x) / max(math.prod(sizes), 1), x.dtype))


def moments(
    x: tf.Tensor, kept: tf.Tensor | None, axes: Sequence[int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Count, mean and centred sum of squares of the kept elements over some axes."""
    count = count_elements(x, kept, axes)
    if kept is not None:
        x = tf.where(kept > 0, x, 0.0)  # what the mask drops may be NaN
    mean = tf.reduce_sum(x, axes, keepdims=True) / tf.maximum(count, 1.0)
    squares = tf.math.squared_difference(x, mean)
    if kept is not None:
        squares *= kept
    return count, mean, tf.reduce_sum(squares, axes, keepdims=True)
