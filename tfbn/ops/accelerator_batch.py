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
from tfbn.ops.batch import upcast
from tfbn.ops.requests import Request

# A sum has two levels, so that no float32 sum gets long. Each sum that the first level
# leaves is written and read again. On a TPU, that counts as much as first sums that are
# longer by so many.
COST_OF_A_SUM = 32
# On a GPU, so many first sums keep all of an H100 busy; with fewer, XLA takes a fusion
# of the sums with what makes their operands for too slow, and writes those to memory.
# More than so many for a channel, or longer ones, would be too many to add up in turn,
# and shorter ones too many to write.
MIN_FIRST_SUMS = 2**15
MAX_PARTS = 512
MIN_LENGTH, MAX_LENGTH = 16, 4096
# Sizes of the blocks whose means stand for the mean: along the first of the axes, and
# along the last. A TPU reads tiles of 8 rows.
BLOCK_SAMPLES = 4
BLOCK_WIDTH = 16
# So few rows a GPU's compiler adds up in the kernel that takes the median of the means.
GPU_BLOCK_ROWS = 8


def make_batch(x: tf.Tensor, request: Request, mask: tf.Tensor | None = None) -> Batch:
    """The batch of a call, in the layout that its target is fast with."""
    kinds = {"gpu": GpuBatch, "tpu": TpuBatch}
    kind = kinds[request.target] if request.on_accelerator else Batch
    return kind(x, request, mask)


class AcceleratorBatch(Batch):
    """A batch whose sums have two levels."""

    def total(self, *tensors):
        first = self._of_each(self.first_sum, tensors)
        if all(first[0].shape[axis] == 1 for axis in self._axes):
            return first
        return self._of_each(self.second_sum, first)

    def first_sum(self, x):
        """The sums of parts of each group, with the rank of the view."""
        raise NotImplementedError

    def second_sum(self, x):
        """The sums of what `first_sum` leaves."""
        return tf.reduce_sum(sums.kept_apart(x), self._axes, keepdims=True)

    def _of_each(self, total, tensors):
        """`total` of each of the tensors."""
        return [total(x) for x in tensors]

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
        for axis, width in self._block_widths().items():
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

    def _block_widths(self):
        """The size of a block along each of the axes that are summed."""
        widths = dict.fromkeys(self._axes, 1)
        widths[self._axes[0]] *= BLOCK_SAMPLES
        widths[self._axes[-1]] *= BLOCK_WIDTH
        return widths


class GpuBatch(AcceleratorBatch):
    """A tensor viewed as by `Batch`. Rows are summed in parts of one length."""

    def first_sum(self, x):
        if not self._rows_only:
            return tf.reduce_sum(x, 3, keepdims=True)
        length = self._length()
        if length is None:
            return tf.reduce_sum(x, 1, keepdims=True)
        groups, rows, channels = self._viewed[0], self._viewed[1], x.shape[2]
        num_parts = rows // length
        parts = tf.reshape(tf.squeeze(x, 3), [groups * num_parts, length, channels])
        total = tf.reduce_sum(parts, 1, keepdims=True)
        return tf.reshape(total, [groups, num_parts, channels, 1])

    def second_sum(self, x):
        if x.dtype.is_complex:
            # To keep one part apart is enough, and takes no kernel of its own.
            parts = sums.kept_apart(tf.math.real(x)), tf.math.imag(x)
            return tf.reduce_sum(tf.complex(*parts), self._axes, keepdims=True)
        return super().second_sum(x)

    def _of_each(self, total, tensors):
        one_level = self._rows_only and self._length() is None
        if len(tensors) != 2 or one_level:
            return super()._of_each(total, tensors)
        # As the two parts of complex numbers they are one sum: the compiler takes what
        # makes them into its kernel, instead of storing what two sums would share, and
        # what is made of both is one kernel again.
        both = total(tf.complex(*tensors))
        return [tf.math.real(both), tf.math.imag(both)]

    def _length(self):
        """The number of rows in a part, or None for one part."""
        groups, rows, channels, _ = self._viewed
        if not all(isinstance(size, int) for size in (groups, rows, channels)):
            return None
        parts = min(MIN_FIRST_SUMS // max(groups * channels, 1), MAX_PARTS)
        best = min(rows // max(parts, 1), MAX_LENGTH)
        length = sums.divisor(rows, best)
        # A prime number of rows, say, is left to the compiler.
        return length if 4 * length > best >= MIN_LENGTH else None

    def _block_widths(self):
        if self._rows_only:
            return {1: GPU_BLOCK_ROWS}
        return super()._block_widths()


class TpuBatch(AcceleratorBatch):
    """A tensor viewed with all of its axes, and that of groups in front if any.

    Statistics have the size 1 along all axes but those of groups and channels.
    """

    def _layout(self, request, groups, before, channels, after):
        del request
        grouped = groups is not None
        sizes = [*before, channels, *after]
        return [groups, *sizes] if grouped else sizes, grouped, grouped + len(before)

    def first_sum(self, x):
        return tf.reduce_sum(x, self._first_axes, keepdims=True)

    @functools.cached_property
    def _first_axes(self):
        """Those that leave few sums to write, and make none of them long."""
        sizes = {axis: self._viewed[axis] for axis in self._axes}
        if not all(isinstance(size, int) for size in sizes.values()):
            return self._axes

        def cost(axes):
            length = math.prod(sizes[axis] for axis in axes)
            return length + COST_OF_A_SUM * math.prod(sizes.values()) / max(length, 1)

        counts = range(1, len(sizes) + 1)
        choices = (itertools.combinations(sizes, count) for count in counts)
        return min(itertools.chain(*choices), key=cost)
