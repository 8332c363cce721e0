"""The channels of a layer's inputs, along one axis or several."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfbn.ops.batch import sizes_of


class Channels:
    """The channel axes of an input, and its view with all channels along one axis.

    Args:
        axes: ints >= 0, ascending.
        shape: that of the inputs; known along `axes`.

    Attributes:
        axes: as given.
        shape: list of ints or None, the sizes along `axes`.
        axis: int >= 0, the channel axis of the view.
        weight_shape: tuple, the shape of gamma and the others: `[channels]`, or with
            several axes that of the inputs with a 1 along all others, as in tf_keras.
    """

    def __init__(self, axes: Sequence[int], shape: Sequence[int | None]):
        rank, self.axes = len(shape), list(axes)
        self.shape = [shape[i] if i in axes else None for i in range(rank)]
        self._num_axes, self._size = len(axes), math.prod(shape[i] or 0 for i in axes)
        if axes[-1] - axes[0] == len(axes) - 1:  # nothing in between
            self.axis, self._order = axes[0], list(range(rank))
        else:
            rest = [i for i in range(rank) if i not in axes]
            self.axis, self._order = len(rest), [*rest, *axes]
        self.weight_shape: tuple[int, ...] = (self._size,)
        if len(axes) > 1:
            self.weight_shape = tuple(
                1 if size is None else size for size in self.shape
            )

    def merge(self, x: tf.Tensor) -> tf.Tensor:
        """The view of `x`. It has a known number of channels, also if `x` has not."""
        x = self._with_known_shape(x)
        if self._num_axes == 1:
            return x
        x = self._transpose(x)
        sizes = sizes_of(x)
        sizes[self.axis : self.axis + self._num_axes] = [self._size]
        return tf.reshape(x, sizes)

    def split(self, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The inverse of `merge`, for a view `y` of the shape that `x` has."""
        if self._num_axes == 1:
            return y
        sizes = sizes_of(self._with_known_shape(x))
        y = tf.reshape(y, [sizes[i] for i in self._order])
        return tf.transpose(y, np.argsort(self._order))

    def mask(self, mask: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """A Keras mask of `x`, to be broadcast to the view of `x`.

        Args:
            mask: it lacks the last axis of `x`, whichever axes hold the channels.
        """
        mask = tf.cast(mask, tf.bool)[..., tf.newaxis]
        if self._num_axes == 1:
            return mask
        return self.merge(tf.broadcast_to(mask, tf.shape(x)))

    def vector(self, weight: tf.Tensor | None) -> tf.Tensor | None:
        """`[channels]` of a weight of `weight_shape`, or None."""
        if weight is None or self._num_axes == 1:
            return weight
        return tf.reshape(weight, [self._size])

    def weight(self, vector: tf.Tensor) -> tf.Tensor:
        """The inverse of `vector`."""
        return vector if self._num_axes == 1 else tf.reshape(vector, self.weight_shape)

    def _with_known_shape(self, x):
        known = x.shape.is_subtype_of(tf.TensorShape(self.shape))
        return x if known else tf.ensure_shape(x, self.shape)

    def _transpose(self, x):
        ordered = self._order == sorted(self._order)
        return x if ordered else tf.transpose(x, self._order)
