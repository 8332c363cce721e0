"""Batch normalisation by TensorFlow's CPU kernels: the fewest passes over the data.

Forward: one pass for the sum, one for the sum of squares, one for the output. Backward:
the two of TensorFlow's fused kernel. They read the input as it is, unless its mean is
large against its standard deviation; then they read a shifted copy.

The fused kernel's own statistics are not used: it adds one row after the other, so its
variance is off by 1e-5 for 1e5 rows, and by much more where the mean is large.
"""

import math

import tensorflow as tf

from tfbn.ops import sums
from tfbn.ops.batch import Batch
from tfbn.ops.batch import product
from tfbn.ops.batch import sizes_of
from tfbn.ops.batch import upcast
from tfbn.ops.requests import Request
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid

NAME = "cpu_kernels"

# The measurements behind these numbers: docs/numerics.md.
#
# From so many elements on, the kernels are faster than plain operations: they wake other
# threads, which costs some 0.1 ms a call, however small the input.
MIN_ELEMENTS = 2**16
# Up to so many rows, sums that add one row after the other are exact enough.
MAX_ROWS_ONE_BY_ONE = 4096
# More rows are added up in groups of a height that divides their number. From this
# height on, their sums are exact enough; larger ones than the largest gain nothing.
MIN_HEIGHT = 8
MAX_HEIGHT = 1024
# At least so many groups: fewer leave the sums over groups too little to share.
MIN_GROUPS = 16
# The kernels add the rows of a height side by side only where channels fill vectors.
VECTOR = 4
# From this height on, sums of squares are faster with so many rows one after another.
MIN_HEIGHT_TO_SPLIT = 256
ROWS_TOGETHER = 4
# A mean square exact to e gives a variance exact to e * (1 + mean^2 / variance), and e
# falls with the height, over which rounding errors average out: data are shifted where
# mean^2 / variance exceeds height / 64, or 1, or 16.
HEIGHT_OF_RATIO_1 = 64
MAX_RATIO = 16.0


def supports(request: Request) -> bool:
    """Whether the kernels can serve the request, and as exactly as the formula."""
    if not runs(request) or request.operation == "lp_batch_norm":
        return False
    if request.operation == "normalize":
        return True  # it takes no sums
    # Without oneDNN, their gradient adds one row after the other.
    return forward_is_exact(request) and (request.onednn or _has_few_rows(request))


def runs(request: Request) -> bool:
    """Whether TensorFlow can serve the request with the kernels."""
    return (
        # A GPU's kernels hand other things from forward to backward than a CPU's.
        request.target == "cpu"
        and not (request.compiled or request.exported)
        and request.dtype != tf.float64
        and request.axis == len(request.shape) - 1
        and not (request.masked or request.replicated)
        and request.virtual_batch_size is None
        # The kernels have no derivative in forward mode. Derivatives of their
        # conditional are optimized into graphs that TensorFlow cannot run where memory
        # is short (AlreadyExistsError of a TemporaryVariable).
        and request.derivative == "none"
    )


def forward_is_exact(request: Request) -> bool:
    """Whether statistics by the kernels are as exact as those of the formula."""
    if _has_few_rows(request):
        return True
    if request.channels % VECTOR:
        return False
    return request.num_rows is None or _height(request.shape) >= MIN_HEIGHT


def _has_few_rows(request):
    return request.num_rows is not None and request.num_rows <= MAX_ROWS_ONE_BY_ONE


def is_faster(request: Request) -> bool:
    """Whether the input is known to be so large that the kernels are faster."""
    return request.least_elements >= MIN_ELEMENTS


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that they take for calls with `dtype`.

    For bfloat16 they have code of its own.
    """
    return tf.float32 if dtype == tf.float16 else dtype


class Normalizer:
    """The normalisation of one float32 or bfloat16 batch with the channels last.

    Attributes:
        statistics: `[channels]`, float32.
    """

    def __init__(self, x, request, epsilon, mask=None):
        del request, mask  # no mask is supported
        self._measure(x, epsilon)
        count, rows = self._count, tf.reshape(x, [-1, x.shape[-1]])
        wide = upcast(rows)
        shifted, shift, mean, variance = _moments(wide, count, self._height, epsilon)
        scale = tf.sqrt(variance + epsilon)
        self.statistics = statistics(count, mean + shift, variance, scale)
        # What the kernels read, and its moments. bfloat16 needs no shifted copy: its
        # few digits cannot hold a mean too large for the kernels' float32.
        self._rows, self._moments = rows, self.statistics
        if x.dtype == tf.float32:
            self._rows = shifted
            mean, remainder = _rounded(mean)
            self._moments = self.statistics._replace(mean=mean, remainder=remainder)

    def _measure(self, x, epsilon):
        self._x, self._epsilon = x, epsilon
        self._height, self._count = _height(x.shape, x), num_rows(x)

    @property
    def saved(self):
        """The tensors from which `of_saved` makes it again."""
        return self._rows, self._moments

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone."""
        del request
        normalizer = cls.__new__(cls)
        normalizer._measure(dy, epsilon)
        normalizer._rows, normalizer._moments = saved
        normalizer.statistics = normalizer._moments
        return normalizer

    def averaged_statistics(self):
        """The statistics, `[channels]`, constants for a gradient."""
        return self.statistics.map(tf.stop_gradient)  # there is one group

    def affine(self, gain, offset):
        """`gain * normalized + offset`; both are `[channels]`."""
        gain = gain / self._moments.scale
        offset = offset - self._moments.remainder * gain
        y = affine(self._rows, self._moments.mean, gain, offset)
        return tf.reshape(y, tf.shape(self._x))

    def gradients(self, dy, gain):
        """The gradients of sum(dy * affine(gain, offset)) for x, gain and offset.

        TensorFlow's derivative of the kernel takes the moments as functions of the
        rows, which they are.
        """
        # oneDNN's running sums are as long as such an image is high, and as there are
        # images.
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


def normalize(x, mean, gain, offset, request, compute=None):
    """`gain * (x - mean) + offset` on the last axis; the others are `[channels]`.

    Args:
        compute: a function of the first four that returns it, or None: the kernel.
    """
    compute = compute or affine_of

    @tf.custom_gradient
    def normalized(x, mean, gain, offset):
        def gradient(dy):
            wide_dy, wide_x = upcast(dy), upcast(x)
            batch = Batch(wide_x, request)
            doffset, dgain = (
                tf.reshape(batch.total(batch.view(t)), tf.shape(gain))
                for t in (wide_dy, wide_dy * (wide_x - mean))
            )
            return tf.cast(wide_dy * gain, x.dtype), -gain * doffset, dgain, doffset

        return compute(x, mean, gain, offset), gradient

    return normalized(x, mean, gain, offset)


def affine_of(x, mean, gain, offset):
    """`gain * (x - mean) + offset` of any rank, by the kernel."""
    rows = tf.reshape(x, [-1, x.shape[-1]])
    return tf.reshape(affine(rows, mean, gain, offset), tf.shape(x))


def affine(rows, mean, gain, offset):
    """`gain * (rows - mean) + offset`: `[n, 1, 1, channels]`, in the dtype of `rows`.

    Args:
        rows: `[n, channels]`, float32 or bfloat16.
        mean, gain, offset: `[channels]`, float32.
    """
    return tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(rows, [-1, 1, 1, rows.shape[1]]),
        scale=gain,
        offset=offset,
        mean=mean,
        variance=tf.ones_like(mean),
        epsilon=0.0,
        is_training=False,
    ).y


def _height(shape, x=None):
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


def _moments(rows, count, height, epsilon):
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
    rounded, remainder = _rounded(mean)
    scale, variance = (tf.cast(t, tf.float32) for t in (scale, variance))
    valid = is_valid(count, rounded, variance)
    return Statistics(rounded, remainder, variance, scale, valid)


def _rounded(mean):
    """`(mean, remainder)` of `Statistics`, of a float64 mean."""
    rounded = tf.cast(mean, tf.float32)
    return rounded, tf.cast(mean - tf.cast(rounded, tf.float64), tf.float32)
