"""Batch normalisation by TensorFlow's CPU kernels: the fewest passes over the data.

Forward: one for the sum, one for the sum of squares, one for the output. Backward: the
two of TensorFlow's fused kernel. They read the input as it is, unless its mean is large
against its standard deviation; then a shifted copy.

The fused kernel's own statistics are not used: it adds up one row after the other, so
its variance is off by 1e-5 for 1e5 rows, and by much more where the mean is large.
"""

import math

import tensorflow as tf

from tfbn.ops import batch as batches
from tfbn.ops import sums
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid


def serve(x):
    """Whether the kernels are faster for `x` than the formula, and as exact.

    A call of theirs costs some 0.1 ms. And they add up one row after the other where
    the channels do not fill vectors, or no divisor of the number of rows gives a
    height.
    """
    channels = x.shape[-1]
    count = None if None in x.shape else math.prod(x.shape[:-1])
    if count is not None and count * channels < 2**15:
        return False
    if count is not None and count <= 4096:
        return True
    return channels % 4 == 0 and (count is None or _height(x) >= 8)


class Normalizer:
    """The normalisation of one float32 or bfloat16 batch with the channels last.

    Attributes:
        statistics: `[channels]`, float32.
    """

    def __init__(self, x, epsilon):
        self._x, self._epsilon = x, epsilon
        self._height = _height(x)
        rows = tf.reshape(x, [-1, x.shape[-1]])
        wide = batches.upcast(rows)
        shifted, shift, mean, variance = _moments(wide, self._height, epsilon)
        self.statistics = _statistics(rows, mean + shift, variance, epsilon)
        # What the kernels take, and its moments. Of bfloat16 no shifted copy is needed:
        # its few digits hold no mean so large that float32's would not do for it.
        self._rows, self._moments = rows, self.statistics
        if x.dtype == tf.float32:
            self._rows = shifted
            self._moments = _statistics(rows, mean, variance, epsilon)

    def averaged_statistics(self):
        """`[channels]`."""
        return self.statistics

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both `[channels]`."""
        gain = gain / self._moments.scale
        offset = offset - self._moments.remainder * gain
        y = affine(self._rows, self._moments.mean, gain, offset)
        return tf.reshape(y, tf.shape(self._x))

    def gradients(self, dy, gain):
        """Those of sum(dy * affine(gain, offset)) for x, gain and offset.

        TensorFlow's derivative of the kernel takes the moments for functions of the
        rows, which they are.
        """
        # The kernel's running sums are as long as such an image is high, and as there
        # are images.
        image = [-1, self._height, 1, self._rows.shape[1]]
        dx, dgain, doffset, _, _ = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=tf.reshape(dy, image),
            x=tf.reshape(self._rows, image),
            scale=gain,
            reserve_space_1=self._moments.mean,
            reserve_space_2=self._moments.spread,
            reserve_space_3=self._moments.spread,
            epsilon=self._epsilon,
            is_training=True,
        )
        return tf.reshape(dx, tf.shape(self._x)), dgain, doffset


def affine(rows, mean, gain, offset):
    """`gain * (rows - mean) + offset`: `[n, 1, 1, channels]`, in the dtype of `rows`.

    Args:
        rows: `[n, channels]`, float32 or bfloat16.
        mean, gain, offset: `[channels]`, float32.
    """
    return tf.raw_ops.FusedBatchNormV3(
        x=rows[:, tf.newaxis, tf.newaxis, :],
        scale=gain,
        offset=offset,
        mean=mean,
        variance=tf.ones_like(mean),
        epsilon=0.0,
        is_training=False,
    ).y


def _height(x):
    """A divisor of the number of rows, in whose multiples they are taken together.

    Of the size of an example, known when the graph is made, where that gives one; else
    of the number of rows, which may have to be found when it runs. It is 1 where that
    is a prime; sums of 1e5 rows are then exact to 1e-5 only.
    """
    *sizes, _ = x.shape
    if None in sizes[1:] or (sizes[0] is None and math.prod(sizes[1:]) < 16):
        count = tf.reduce_prod(tf.shape(x)[:-1])
    elif sizes[0] is None:
        return sums.divisor(math.prod(sizes[1:]), _LARGEST_HEIGHT)
    else:
        count = math.prod(sizes)
    return sums.divisor(count, _LARGEST_HEIGHT, count // 16)


_LARGEST_HEIGHT = 1024


def _moments(rows, height, epsilon):
    """`(rows - shift, shift, mean of those, variance)`; the shift is mostly 0.

    `shift` and `mean` are float64 vectors.
    """
    mean, square = _mean_and_square(rows, height)
    spread = square - tf.square(mean) + epsilon
    # A mean square exact to e gives a variance exact to e * (1 + mean^2 / variance),
    # and e gets less with the height, over which rounding errors average out.
    largest = tf.clip_by_value(tf.cast(height, tf.float64) / 64.0, 1.0, 16.0)
    exact = tf.reduce_all(tf.square(mean) <= largest * spread)

    def shifted():
        shift = tf.cast(mean, rows.dtype)
        moved = rows - shift
        return moved, tf.cast(shift, mean.dtype), *_mean_and_square(moved, height)

    rows, shift, mean, square = tf.cond(
        exact, lambda: (rows, tf.zeros_like(mean), mean, square), shifted
    )
    return rows, shift, mean, tf.nn.relu(square - tf.square(mean))


def _mean_and_square(rows, height):
    """The means of `[n, channels]` rows and of their squares, in float64."""
    count = tf.cast(tf.maximum(tf.shape(rows)[0], 1), tf.float64)
    return tuple(
        tf.reduce_sum(tf.cast(partial, tf.float64), axis=0) / count
        for partial in (_partial_sums(rows, height), _partial_square_sums(rows, height))
    )


def _partial_sums(rows, height):
    """`[n / height, channels]`: a product with ones is the fastest sum of rows."""
    ones = tf.ones([1, 1, height], rows.dtype)
    return tf.squeeze(ones @ tf.reshape(rows, [-1, height, rows.shape[1]]), 1)


def _partial_square_sums(rows, height):
    """`[height, or a fourth of it, channels]` sums of the squares of the rows.

    The gradient of a depthwise convolution for a filter of one tap is, channel by
    channel, the sum of input times upstream gradient: the only kernel that sums
    products of rows without writing them down first. It adds up one row after the
    other, so the rows of a height are laid side by side, as channels.
    """
    # Some rows one after the other are faster, where there are enough.
    width = 4 if isinstance(height, int) and height % 4 == 0 and height >= 256 else 1
    channels = height // width * rows.shape[1]
    image = tf.reshape(rows, [1, -1, width, channels])
    squares = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=image,
        filter_sizes=[1, 1, channels, 1],
        out_backprop=image,
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    return tf.reshape(squares, [-1, rows.shape[1]])


def _statistics(rows, mean, variance, epsilon):
    rounded = tf.cast(mean, tf.float32)
    remainder = tf.cast(mean - tf.cast(rounded, tf.float64), tf.float32)
    scale = tf.cast(tf.sqrt(variance + epsilon), tf.float32)
    variance = tf.cast(variance, tf.float32)
    valid = is_valid(tf.shape(rows)[0], rounded, variance)
    return Statistics(rounded, remainder, variance, scale, valid)
