"""Sums and moments of rows by TensorFlow's CPU kernels, exact to float32 or better."""

import math

import tensorflow as tf

from tfbn.ops import sums
from tfbn.ops.batch import product
from tfbn.ops.batch import sizes_of
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid

# The measurements behind these numbers: docs/numerics.md.
#
# Rows are added up in groups of a height that divides their number. Larger ones than
# the largest gain nothing.
MAX_HEIGHT = 1024
# At least so many groups: fewer leave the sums over groups too little to share.
MIN_GROUPS = 16
# From this height on, sums of squares are faster with so many rows one after another.
MIN_HEIGHT_TO_SPLIT = 256
ROWS_TOGETHER = 4
# A mean square exact to e gives a variance exact to e * (1 + mean^2 / variance), and e
# falls with the height, over which rounding errors average out: data are shifted where
# mean^2 / variance exceeds height / 64, or 1, or 16.
HEIGHT_OF_RATIO_1 = 64
MAX_RATIO = 16.0
# Of bfloat16, at most so many rows are added up one after the other.
MAX_ROWS_OF_PART = 1024


def height_of(shape, x=None):
    """A divisor of the number of rows, in whose multiples they are added up together.

    A divisor of the size of an example where that is known and large enough; otherwise
    of the number of rows, which `x` tells when the graph runs if `shape` does not. It
    is 1 for a prime number of rows; sums of 1e5 rows are then exact to 1e-5 only.
    """
    *sizes, _ = shape
    if None in sizes[1:] or (sizes[0] is None and math.prod(sizes[1:]) < MIN_GROUPS):
        count = tf.reduce_prod(tf.shape(x)[:-1])
    elif sizes[0] is None:
        return sums.divisor(math.prod(sizes[1:]), MAX_HEIGHT)
    else:
        count = math.prod(sizes)
    return sums.divisor(count, MAX_HEIGHT, count // MIN_GROUPS)


def num_rows(x):
    """The number of elements of a channel: an int, or a scalar tensor."""
    return product(sizes_of(x)[:-1])


def divisor_of_sums(count):
    """What a sum over `count` rows is divided by for a mean, float64; 1 for no rows."""
    if isinstance(count, int):
        return float(max(count, 1))
    return tf.cast(tf.maximum(count, 1), tf.float64)


def shifted_moments(rows, count, height, epsilon):
    """`(rows - shift, shift, mean of those, variance)`; the shift is 0 for most data.

    `shift` and `mean` are float64 vectors.
    """
    mean, square = _mean_and_square(rows, count, height)
    squared_mean = tf.square(mean)
    spread = square - squared_mean + epsilon
    if isinstance(height, int):
        largest = min(max(height / HEIGHT_OF_RATIO_1, 1.0), MAX_RATIO)
    else:
        ratio = tf.cast(height, tf.float64) / HEIGHT_OF_RATIO_1
        largest = tf.clip_by_value(ratio, 1.0, MAX_RATIO)
    exact = tf.reduce_all(squared_mean <= largest * spread)

    def shifted():
        shift = tf.cast(mean, rows.dtype)
        moved = rows - shift
        return (
            moved,
            tf.cast(shift, mean.dtype),
            *_mean_and_square(moved, count, height),
        )

    # A shift of all data instead costs a pass over them.
    rows, shift, mean, square = tf.cond(
        exact, lambda: (rows, tf.zeros_like(mean), mean, square), shifted
    )
    return rows, shift, mean, tf.nn.relu(square - tf.square(mean))


def moments_of_parts(rows, count, height):
    """The mean and the variance of `[n, channels]` bfloat16 rows, in float64.

    By the fused kernel, which takes the variance around the mean, reads bfloat16 as it
    is, and also writes an output, which is not used: sums of float32 would need a copy
    first. It adds one row after the other, so the rows are dealt out to parts, which
    are laid side by side as channels.
    """
    parts, channels = _num_parts(count, height), rows.shape[1]
    columns = parts * channels
    none = tf.zeros([0])
    moments = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(rows, [-1, 1, 1, columns]),
        scale=tf.ones([columns]),
        offset=tf.zeros([columns]),
        mean=none,
        variance=none,
        is_training=True,
    )
    # What it saves for its gradient; its other outputs have the unbiased variance.
    means, variances = (
        tf.cast(tf.reshape(moment, [parts, channels]), tf.float64)
        for moment in (moments.reserve_space_1, moments.reserve_space_2)
    )
    mean = tf.reduce_mean(means, 0)
    return mean, tf.reduce_mean(variances + tf.square(means - mean), 0)


def _num_parts(count, height):
    """The least number of equal parts that are short enough, of `count` rows."""
    if not isinstance(count, int):
        return height
    least = max(1, -(-count // MAX_ROWS_OF_PART))
    return next((n for n in range(least, height) if count % n == 0), height)


def _mean_and_square(rows, count, height):
    """The means of `[n, channels]` rows and of their squares, in float64."""
    total = sum_of_rows(rows, height)
    squares = sum_of_products(rows, rows, count, height)
    divisor = divisor_of_sums(count)
    return total / divisor, squares / divisor


def sum_of_rows(rows, height):
    """The sum of `[n, channels]` rows, float64: of `height` at a time in float32."""
    # A product with ones is the fastest sum of rows.
    ones = tf.ones([1, 1, height], rows.dtype)
    partial = ones @ tf.reshape(rows, [-1, height, rows.shape[1]])
    return tf.reduce_sum(tf.cast(partial, tf.float64), axis=[0, 1])


def sum_of_products(rows, others, count, height):
    """The sum of the elementwise products of `count` rows, float64; see `sum_of_rows`.

    The gradient of a depthwise convolution for a filter of one tap is, channel by
    channel, the sum of input times upstream gradient: the only kernel that sums
    products of rows without writing them first. It adds one row after the other, so
    the rows of a height are laid side by side, as channels.
    """
    splits = isinstance(height, int) and height >= MIN_HEIGHT_TO_SPLIT
    width = ROWS_TOGETHER if splits and height % ROWS_TOGETHER == 0 else 1
    channels = height // width * rows.shape[1]
    image = [1, -1, width, channels]
    laid_out = tf.reshape(rows, image)
    partial = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=laid_out,
        filter_sizes=[1, 1, channels, 1],
        out_backprop=laid_out if others is rows else tf.reshape(others, image),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )
    partial = tf.reshape(partial, [-1, rows.shape[1]])
    total = tf.reduce_sum(tf.cast(partial, tf.float64), axis=0)
    # Given no rows, the kernel leaves its result undefined.
    if isinstance(count, int):
        return total if count else tf.zeros_like(total)
    return tf.where(count > 0, total, 0.0)


def statistics(count, mean, variance, scale):
    """`Statistics` of moments in float64."""
    mean, remainder = rounded(mean)
    scale, variance = (tf.cast(t, tf.float32) for t in (scale, variance))
    valid = is_valid(count, mean, variance)
    return Statistics(mean, remainder, variance, scale, valid)


def rounded(mean):
    """`(mean, remainder)` of `Statistics`, of a float64 mean."""
    narrow = tf.cast(mean, tf.float32)
    return narrow, tf.cast(mean - tf.cast(narrow, tf.float64), tf.float32)
