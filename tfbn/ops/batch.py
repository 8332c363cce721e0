"""The batch of a normalisation: its layout, sums and masks."""

import math

import tensorflow as tf

from tfbn.ops import sums
from tfbn.ops.replicas import Moments
from tfbn.ops.replicas import Replicas
from tfbn.ops.requests import Request
from tfbn.ops.statistics import Statistics
from tfbn.ops.virtual_batches import VirtualBatches


def upcast(inputs: tf.Tensor) -> tf.Tensor:
    """`inputs` in the dtype of the computation: float32 for half precision."""
    inputs = tf.convert_to_tensor(inputs)
    return tf.cast(inputs, wide_dtype(inputs.dtype))


def wide_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the computation with an input of `dtype`."""
    return tf.float64 if dtype == tf.float64 else tf.float32


def along_axis(vector: tf.Tensor, x: tf.Tensor, axis: int) -> tf.Tensor:
    """`[channels]`, shaped to broadcast against `x`."""
    if axis == len(x.shape) - 1:
        return vector
    return tf.reshape(vector, [-1 if i == axis else 1 for i in range(len(x.shape))])


# Elements of a channel whose mean stands for the mean. The shift has to be off by a few
# standard deviations at most: the error of a sum grows with its size. Of 64 the mean is
# off by an eighth of one; 16 to 1024 take about the same time (docs/numerics.md).
SAMPLE_SIZE = 64
# At most so many numbers behind the channels are added up in one go: of more, sums of
# two values are off by 2e-6. They are not divided into runs shorter than the least.
AFTER_RUN = 256
MIN_AFTER_RUN = 16


class Batch:
    """A tensor viewed as `[groups, before, channels, after]`, and sums over it.

    A group is a virtual batch, or the whole batch. `before` and `after` are the axes
    before and after the channel axis; statistics are taken over both and have shape
    `[groups, 1, channels, 1]`. The view copies no data on CPUs, where rows are summed
    in runs. For accelerators there is `AcceleratorBatch`.

    Args:
        x: float tensor, of the dtype of the computation or in half precision.
        request: the `Request` of the call.
        mask: boolean tensor, broadcastable to `x`, or None.

    Attributes:
        count: the number of elements behind each statistic, on this replica until
            `join`, and then on all that share statistics: a float if it is known, or
            in the tensor's dtype a scalar, or with a mask of the statistics' shape, for
            one channel if all have the same mask.
        replicas: the `Replicas` that share statistics.
        mask: None, or the mask broadcast and viewed as above, likewise.
        compiled: bool, whether XLA compiles the call.
    """

    def __init__(self, x: tf.Tensor, request: Request, mask: tf.Tensor | None = None):
        axis, sizes = request.axis, sizes_of(x)
        before, channels, after = sizes[:axis], sizes[axis], sizes[axis + 1 :]
        self._samples, self._masked_by_user = sizes[0], mask is not None
        self._virtual, groups = _virtual_batches(request, sizes[0]), None
        if self._virtual is not None:
            groups, before[0] = self._virtual.number, request.virtual_batch_size
            sizes[0] = groups * before[0]
        self._shape, self._dtype = shape_to(sizes), wide_dtype(x.dtype)
        self._viewed, self._grouped, self._channel_axis = self._layout(
            request, groups, before, channels, after
        )
        self._view_shape = shape_to(self._viewed)
        self._axes = [*range(len(self._viewed))[self._grouped :]]
        self._axes.remove(self._channel_axis)
        self._rows_only = all(isinstance(size, int) and size == 1 for size in after)
        self._before_factor = math.prod(i for i in before if isinstance(i, int))
        self.compiled, self._exported = request.compiled, request.exported
        self.replicas = Replicas(request)
        self.mask = self._view_mask(mask, axis, sizes)
        self.count = self._count()

    def _layout(self, request, groups, before, channels, after):
        """`(sizes of the view, whether the first is that of groups, channel axis)`.

        Args:
            groups: the number of virtual batches, or None for no virtual batches.
        """
        del request
        groups = 1 if groups is None else groups
        return [groups, product(before), channels, product(after)], True, 2

    def view(self, x):
        """The view of a tensor of the input's shape."""
        if self._virtual is not None:
            x = self._virtual.arrange(x)
        return tf.reshape(x, self._view_shape)

    def restore(self, x):
        """The inverse of `view`."""
        x = tf.reshape(x, self._shape)
        return x if self._virtual is None else self._virtual.restore(x)

    def statistic(self, vector):
        """`[channels]` or `[groups, channels]`, or a scalar, shaped to broadcast."""
        vector = tf.cast(vector, self._dtype)
        if vector.shape.rank == 0:
            return vector
        sizes = [1] * len(self._viewed)
        sizes[self._channel_axis] = self._viewed[self._channel_axis]
        if self._grouped and vector.shape.rank != 1:
            sizes[0] = self._viewed[0]
        return tf.reshape(vector, sizes)

    def vector(self, statistic):
        """`[groups, channels]` of a statistic as `statistic` shapes it, or a scalar."""
        if statistic.shape.rank == 0:
            return statistic
        vector = tf.squeeze(statistic, self._axes)
        return vector if self._grouped else vector[tf.newaxis]

    def over_groups(self, vector):
        """`[channels]`: the mean of `[groups, channels]` over the non-empty groups."""
        if vector.shape[0] == 1:
            return tf.squeeze(vector, 0)
        if self.mask is None or self._virtual is None:
            return tf.reduce_mean(vector, axis=0)
        filled = tf.cast(self.vector(self.count) > 0, vector.dtype)
        filled_count = tf.maximum(tf.reduce_sum(filled, axis=0), 1.0)
        return tf.reduce_sum(vector * filled, axis=0) / filled_count

    def averaged(self, statistics: Statistics) -> Statistics:
        """`[channels]`: means over the groups, of statistics as `vector` gives them."""
        valid = statistics.valid
        if valid.shape.rank:
            valid = tf.reduce_any(valid, axis=0)
        return statistics.map(self.over_groups)._replace(valid=valid)

    def total(self, *tensors):
        """The sums over the elements of this replica, masked ones included."""
        return [self._total(x) for x in tensors]

    def _total(self, x):
        total = sums.sum_rows(
            tf.squeeze(x, 3) if self._rows_only else self._sum_after(x),
            self._before_factor,
            compiled=self.compiled,
            exported=self._exported,
        )
        groups, channels = total.shape
        if groups is None or channels is None:
            return total[:, tf.newaxis, :, tf.newaxis]
        return tf.reshape(total, [groups, 1, channels, 1])  # fewer operations

    def _sum_after(self, x):
        after, run = self._viewed[3], 1
        if isinstance(after, int) and after > AFTER_RUN:
            run = sums.divisor(after, AFTER_RUN)
        if run >= MIN_AFTER_RUN:
            sizes = shape_to([*self._viewed[:3], after // run, run])
            x = self._kept_apart(tf.reduce_sum(tf.reshape(x, sizes), 4))
        return self._kept_apart(tf.reduce_sum(x, 3))

    def _kept_apart(self, total):
        return sums.kept_apart(total) if self.compiled else total

    def totals(self, *sums):
        """The sums over the elements of all replicas that share statistics."""
        return self.replicas.totals(*sums)

    def join(self, mean, remainder, variance):
        """The moments over all replicas that share them, of those on this replica."""
        part = Moments(mean, remainder, variance, self.count)
        *moments, self.count = self.replicas.join(part)
        return moments

    @property
    def divisor(self):
        """The count, and 1 where there are no elements."""
        return _at_least_one(self.count)

    def mean(self, x):
        """The mean over the elements that the mask keeps; 0 if there are none."""
        (total,) = self.total(self.keep(x))
        return total / self.divisor

    def maximum(self, x):
        """The maximum of a non-negative `x` over the elements that the mask keeps."""
        return tf.reduce_max(self.keep(x), self._axes, keepdims=True)

    def near_mean(self, x):
        """Roughly the mean: sums of `x` less this keep their digits.

        It is the mean of a sample from all over the batch, which costs next to
        nothing. With a mask it is the mean itself as far as a float32 sum is right: in
        its first digits.
        """
        return self._if_masked(
            lambda: self.mean(upcast(x)), lambda: self._mean_of_sample(x)
        )

    def _mean_of_sample(self, x):
        along = SAMPLE_SIZE if self._rows_only else math.isqrt(SAMPLE_SIZE)
        sizes = self._viewed[1], self._viewed[3]
        steps = [_step(size, along) for size in sizes]
        whole = all(isinstance(step, int) and step == 1 for step in steps)
        sample = upcast(x if whole else x[:, :: steps[0], :, :: steps[1]])
        lengths = [
            (size + step - 1) // step for size, step in zip(sizes, steps, strict=True)
        ]
        count = _as_count(product(lengths), sample.dtype)
        return self.statistic(tf.reduce_sum(sample, [1, 3]) / _at_least_one(count))

    def keep(self, x):
        """`x` where the mask keeps it, 0 elsewhere."""
        # A product would keep masked elements that are not finite.
        return self._if_masked(
            lambda: tf.where(self.mask, x, tf.zeros([], x.dtype)), lambda: x
        )

    def _if_masked(self, masked, unmasked):
        if self.mask is None:
            return unmasked()
        if self._virtual is None or self._masked_by_user:
            return masked()
        return self._virtual.unless_whole(masked, unmasked)

    def _view_mask(self, mask, axis, sizes):
        if self._virtual is not None:
            mask = self._mask_of_groups(mask, len(sizes))
        if mask is None:
            return None
        sizes, viewed = [*sizes], [*self._viewed]
        if mask.shape[axis] == 1:  # that of all channels
            sizes[axis] = viewed[self._channel_axis] = 1
        return tf.reshape(tf.broadcast_to(mask, tf.stack(sizes)), viewed)

    def _mask_of_groups(self, mask, rank):
        if mask is not None:
            shape = tf.concat([[self._samples], tf.shape(mask)[1:]], 0)
            mask = self._virtual.arrange(tf.broadcast_to(mask, shape))
        elif self._virtual.whole is not True:
            mask = self._virtual.filled(rank)
        return mask

    def _count(self):
        if self.mask is None:
            sizes = [self._viewed[axis] for axis in self._axes]
            return _as_count(product(sizes), self._dtype)
        kept = tf.cast(self.mask, self._dtype)
        return tf.reduce_sum(kept, self._axes, keepdims=True)


def sizes_of(x: tf.Tensor) -> list:
    """The shape of `x` as a list: ints where known, scalar tensors elsewhere."""
    if x.shape.is_fully_defined():
        return list(x.shape)
    dynamic = tf.unstack(tf.shape(x), x.shape.rank)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


def shape_to(sizes: list) -> list | tf.Tensor:
    """What `tf.reshape` takes for sizes as `sizes_of` gives them.

    A single unknown size is -1: graphs stay small. TensorFlow cannot tell it where
    another one is 0.
    """
    unknown = [i for i, size in enumerate(sizes) if not isinstance(size, int)]
    if len(unknown) > 1 or (unknown and 0 in sizes_known(sizes)):
        return tf.stack(sizes)
    return [size if isinstance(size, int) else -1 for size in sizes]


def sizes_known(sizes: list) -> list[int]:
    """Those of the sizes that are ints."""
    return [size for size in sizes if isinstance(size, int)]


def product(sizes):
    """The product of sizes: an int if all are, otherwise a scalar tensor."""
    known = math.prod(sizes_known(sizes))
    unknown = [size for size in sizes if not isinstance(size, int)]
    if unknown and known == 1:
        return math.prod(unknown[1:], start=unknown[0])
    return math.prod(unknown, start=known)


def _as_count(number, dtype):
    return float(number) if isinstance(number, int) else tf.cast(number, dtype)


def _at_least_one(count):
    return max(count, 1.0) if isinstance(count, float) else tf.maximum(count, 1.0)


def _step(size, count):
    """The stride that samples at least `count` of `size` elements, or all of fewer."""
    if isinstance(size, int):
        return max(1, size // count)
    return tf.maximum(1, size // count)


def _virtual_batches(request, samples):
    if request.virtual_batch_size is None:
        return None
    return VirtualBatches(
        samples,
        request.virtual_batch_size,
        request.virtual_batch_order,
        request.compiled,
    )
