"""Batch normalisation by TensorFlow's CPU kernels: the fewest passes over the data.

Forward: one pass for the sum, one for the sum of squares, one for the output. Backward:
the two of TensorFlow's fused kernel. They read the input as it is, unless its mean is
large against its standard deviation; then they read a shifted copy.

The fused kernel's own statistics are not used as they are: it adds one row after the
other, so its variance is off by 1e-5 for 1e5 rows.
"""

import math

import tensorflow as tf

from tfbn.ops import cpu_moments
from tfbn.ops import formula
from tfbn.ops.requests import Request

NAME = "cpu_kernels"

# The measurements behind these numbers: docs/numerics.md.
#
# From so many elements on, the kernels are faster than plain operations. They wake
# other threads, which costs some 0.1 ms a call, however small the input.
MIN_ELEMENTS = 2**16
# An unknown size counts as this one: a graph that has both ways is larger, and takes
# nearly twice as long to trace and to optimise.
USUAL_SIZE = 32
# Up to so many rows, sums that add one row after the other are exact enough.
MAX_ROWS_ONE_BY_ONE = 4096
# More rows are added up in groups of a height that divides their number. From this
# height on, their sums are exact enough.
MIN_HEIGHT = 8
# The kernels add the rows of a height side by side only where channels fill vectors.
VECTOR = 4


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
    return runs_rows(request) and not request.masked


def runs_rows(request: Request) -> bool:
    """Whether a CPU computes the request operation by operation, on whole rows."""
    return (
        # A GPU's kernels hand other things from forward to backward than a CPU's.
        request.target == "cpu"
        and not (request.compiled or request.exported)
        and request.dtype != tf.float64
        and request.axis == len(request.shape) - 1
        and not request.replicated
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
    return request.num_rows is None or (
        cpu_moments.height_of(request.shape) >= MIN_HEIGHT
    )


def _has_few_rows(request):
    return request.num_rows is not None and request.num_rows <= MAX_ROWS_ONE_BY_ONE


def is_faster(request: Request) -> bool:
    """Whether the input is large enough, or likely to be, for them to be faster."""
    return usual_size(request) >= MIN_ELEMENTS


def usual_size(request: Request) -> int:
    """The number of elements of the input, or what is likely if it is not known."""
    return math.prod(USUAL_SIZE if size is None else size for size in request.shape)


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
        # What the kernels read, and its moments: the input or a shifted copy.
        self._rows = tf.reshape(x, [-1, x.shape[-1]])
        if x.dtype == tf.bfloat16:
            # It needs no shift: its few digits hold no mean too large for float32.
            mean, variance = cpu_moments.moments_of_parts(
                self._rows, self._count, self._height
            )
            self.statistics = self._moments = self._statistics(mean, variance)
        else:
            self._rows, shift, mean, variance = cpu_moments.shifted_moments(
                self._rows, self._count, self._height, epsilon
            )
            self.statistics = self._statistics(mean + shift, variance)
            mean, remainder = cpu_moments.rounded(mean)
            self._moments = self.statistics._replace(mean=mean, remainder=remainder)

    def _statistics(self, mean, variance):
        scale = tf.sqrt(variance + self._epsilon)
        return cpu_moments.statistics(self._count, mean, variance, scale)

    def _measure(self, x, epsilon):
        self._x, self._epsilon = x, epsilon
        self._height = cpu_moments.height_of(x.shape, x)
        self._count = cpu_moments.num_rows(x)

    @property
    def saved(self):
        """The tensors from which `of_saved` makes it again."""
        return self._rows, self._moments

    @classmethod
    def of_saved(cls, saved, dy, request, epsilon, mask=None):
        """The normalizer of the tensors in `saved`, for the gradients of `dy` alone."""
        del request, mask  # no mask is supported
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


def normalize(x, mean, gain, offset, request):
    """`gain * (x - mean) + offset` on the last axis; the others are `[channels]`."""
    return formula.normalize(x, mean, gain, offset, request, affine_of)


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
