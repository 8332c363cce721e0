"""A batch for accelerators: sums in two levels, slices that are contiguous.

On a TPU, a tensor of 14 x 14 pixels does not lie in memory row after row: to flatten it
copies it, so there its axes stay as they are. A GPU's compiler sums fast along the last
axes only, which therefore are flattened and split anew.
"""

import functools
import itertools
import math

import tensorflow as tf

from tfbn.ops import sums
from tfbn.ops.batch import Batch
from tfbn.ops.batch import product
from tfbn.ops.batch import upcast
from tfbn.ops.requests import Request

# A sum has two levels, so that no float32 sum gets long. A sum that the first leaves, to
# be written and read again, costs as much as a first sum that is longer by so many.
COST_OF_A_SUM = 32
# Of a GPU: so many first sums keep all of an H100 busy. With fewer, XLA takes a fusion
# of the sums with what makes their operands for too slow, and writes those to memory.
# No channel needs more than so many of them, unless they are longer than this.
MIN_FIRST_SUMS = 2**15
MAX_PARTS = 512
MAX_LENGTH = 4096
# Sizes of the blocks whose means stand for the mean: along the first of the axes, and
# along the last. A TPU reads tiles of 8 rows.
BLOCK_SAMPLES = 4
BLOCK_WIDTH = 16


def make_batch(x: tf.Tensor, request: Request, mask: tf.Tensor | None = None) -> Batch:
    """The batch of a call, in the layout that its target is fast with."""
    return (AcceleratorBatch if request.on_accelerator else Batch)(x, request, mask)


class AcceleratorBatch(Batch):
    """A tensor and sums over it, viewed with all of its axes on a TPU.

    On a GPU, axes before the channels are viewed as two, `[number of first sums, length
    of a first sum]`. Virtual batches have an axis of their own, the first. Statistics
    have the size 1 along all axes but those of groups and channels.
    """

    def _layout(self, request, groups, before, channels, after):
        self._flat = request.target == "gpu"
        if self._flat and before:
            before = [product(before)] if after else _split(before, channels)
        grouped = groups is not None
        sizes = [*before, channels, *after]
        return [groups, *sizes] if grouped else sizes, grouped, grouped + len(before)

    def total(self, x):
        """The sum over the elements of this replica, masked ones included."""
        return self.second_sum(sums.kept_apart(self.first_sum(x)))

    def first_sum(self, x):
        """The sums over some of the axes: the first of two levels."""
        return tf.reduce_sum(x, self._first_axes, keepdims=True)

    def second_sum(self, x):
        """The sum of what `first_sum` leaves."""
        second_axes = [axis for axis in self._axes if axis not in self._first_axes]
        return tf.reduce_sum(x, second_axes, keepdims=True)

    def first_count(self):
        """How many elements that the mask keeps are behind each first sum."""
        if self.mask is not None:
            return self.first_sum(tf.cast(self.mask, self._dtype))
        return self._count_along(self._first_axes)

    @functools.cached_property
    def _first_axes(self):
        """Those that leave few sums to write, and make none of them long."""
        sizes = {axis: self._viewed[axis] for axis in self._axes}
        if not all(isinstance(size, int) for size in sizes.values()):
            return self._axes

        def cost(axes):
            length = math.prod(sizes[axis] for axis in axes)
            return length + COST_OF_A_SUM * math.prod(sizes.values()) / max(length, 1)

        return min(self._candidates(), key=cost)

    def _candidates(self):
        """The axes that the target can take a first sum over."""
        if self._flat:
            return [self._axes[start:] for start in range(len(self._axes))]
        count = range(1, len(self._axes) + 1)
        return itertools.chain(*(itertools.combinations(self._axes, n) for n in count))

    def _mean_of_sample(self, x):
        # Outliers in one of the blocks do not move the median of three means.
        low, middle, high = (self._mean_of_block(x, third) for third in range(3))
        low, high = tf.minimum(low, high), tf.maximum(low, high)
        return tf.maximum(low, tf.minimum(middle, high))

    def _mean_of_block(self, x, third):
        """The mean of the block at the start, in the middle or at the end of each axis.

        Args:
            third: 0, 1 or 2.
        """
        block, count = [slice(None)] * len(self._viewed), 1
        for axis in self._axes:
            width = BLOCK_SAMPLES if axis == self._axes[0] else 1
            width *= BLOCK_WIDTH if axis == self._axes[-1] else 1
            size = self._viewed[axis]
            least, most = (
                (min, max) if isinstance(size, int) else (tf.minimum, tf.maximum)
            )
            width = least(width, size)
            start = (size - width) * third // 2
            block[axis] = slice(start, start + width)
            count *= most(width, 1)  # of nothing the mean is 0
        sample = upcast(x[tuple(block)])
        total = tf.reduce_sum(sample, self._axes, keepdims=True)
        return total / tf.cast(count, sample.dtype)


def _split(sizes, channels):
    """`sizes` as those of two axes, the second the length of a first sum."""
    if not all(isinstance(size, int) for size in (*sizes, channels)):
        return sizes
    count = math.prod(sizes)
    parts = min(MIN_FIRST_SUMS // max(channels, 1), MAX_PARTS)
    best = min(count // max(parts, 1), MAX_LENGTH)
    length = sums.divisor(count, best)
    # A prime number of rows, say, is left to the compiler.
    return [count // length, length] if 4 * length > best >= 16 else [count]
