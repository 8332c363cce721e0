"""The batch of a normalisation: its layout, its sums, masks and replicas."""

import math

import tensorflow as tf

from tfbn.ops import sums


def upcast(inputs):
    """`inputs` in the dtype of the computation: float32 for half precision."""
    inputs = tf.convert_to_tensor(inputs)
    return tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs


def channel_mask(mask, x, axis):
    """A Keras mask, which leaves out the channel axis of `x`, with the rank of `x`.

    Args:
        mask: tensor of rank 1 to `rank(x) - 1`; it covers the axes of `x` other than
            `axis`, from the first on.
    """
    mask = tf.cast(mask, tf.bool)
    for _ in range(len(x.shape) - 1 - len(mask.shape)):
        mask = tf.expand_dims(mask, -1)
    return tf.expand_dims(mask, axis)


def along_axis(vector, x, axis):
    """`[channels]`, shaped to broadcast against `x`."""
    return tf.reshape(vector, [-1 if i == axis else 1 for i in range(len(x.shape))])


class Batch:
    """A tensor's axes seen as `[groups, before, channels, after]`, and sums over them.

    A group is a virtual batch, or all there is. `before` and `after` stand for what
    lies before and after the channel axis; statistics are taken over both and have
    shape `[groups, 1, channels, 1]`. To view a tensor so moves no data.

    Attributes:
        count: the number of elements behind each statistic, in the tensor's dtype, of
            shape `[groups, 1, channels or 1, 1]` with a mask and scalar without; over
            all replicas if synchronized.
        mask: None, or the mask broadcast and viewed as above.
    """

    def __init__(
        self, x, axis, *, mask=None, synchronized=False, virtual_batch_size=None
    ):
        sizes = _sizes(x)
        before, channels, after = sizes[:axis], sizes[axis], sizes[axis + 1 :]
        groups = 1
        if virtual_batch_size is not None:
            groups = _group_count(before[0], virtual_batch_size)
            before = [virtual_batch_size, *before[1:]]
        self._shape, self._dtype = tf.shape(x), x.dtype
        self._viewed = [groups, _product(before), channels, _product(after)]
        self._rows_only = all(isinstance(size, int) and size == 1 for size in after)
        self._before_factor = math.prod(i for i in before if isinstance(i, int))
        self._replicas = replica_context() if synchronized else None
        self.mask = None if mask is None else self._view_mask(mask, axis, sizes)
        self.count = self._count()

    def view(self, x):
        """A tensor of the input's shape as `[groups, before, channels, after]`."""
        return tf.reshape(x, self._viewed)

    def restore(self, x):
        """The opposite of `view`."""
        return tf.reshape(x, self._shape)

    def statistic(self, vector):
        """`[channels]` or `[groups, channels]`, or a scalar, shaped to broadcast."""
        vector = tf.cast(vector, self._dtype)
        if vector.shape.rank == 0:
            return vector
        groups = 1 if vector.shape.rank == 1 else self._viewed[0]
        return tf.reshape(vector, [groups, 1, self._viewed[2], 1])

    def vector(self, statistic):
        """`[groups, channels]` of `[groups, 1, channels, 1]`."""
        return tf.squeeze(statistic, [1, 3])

    def over_groups(self, vector):
        """`[channels]`: the mean over the groups that are not empty, of
        `[groups, channels]`."""
        if self.mask is None:
            return tf.reduce_mean(vector, axis=0)
        filled = tf.cast(self.vector(self.count) > 0, vector.dtype)
        filled_count = tf.maximum(tf.reduce_sum(filled), 1.0)
        return tf.reduce_sum(vector * filled, axis=0) / filled_count

    def total(self, x):
        """The sum over the elements of this replica, masked ones too."""
        rows = tf.squeeze(x, 3) if self._rows_only else tf.reduce_sum(x, 3)
        total = sums.sum_rows(rows, self._before_factor, are_sums=not self._rows_only)
        return total[:, tf.newaxis, :, tf.newaxis]

    def across_replicas(self, total):
        """The sum of a total over all replicas if synchronized, else `total`."""
        if self._replicas is None:
            return total
        return self._replicas.all_reduce(tf.distribute.ReduceOp.SUM, total)

    def mean(self, x):
        """The mean over what the mask keeps; 0 if that is nothing."""
        total = self.across_replicas(self.total(self.keep(x)))
        return total / tf.maximum(self.count, 1.0)

    def maximum(self, x):
        """The maximum of a non-negative `x` over what the mask keeps."""
        largest = tf.reduce_max(self.keep(x), [1, 3], keepdims=True)
        if self._replicas is None:
            return largest
        # There is no MAX among the reductions of tf.distribute.
        gathered = self._replicas.all_gather(largest[tf.newaxis], axis=0)
        return tf.reduce_max(gathered, 0)

    def near_mean(self, x):
        """Roughly the mean: a shift that keeps the digits of what is summed after it.

        Taken of some elements from all over the batch, which costs nothing. Where
        these may be masked, or must be the same on all replicas: the mean, of which
        a float32 sum of data with a large offset knows the first digits only.
        """
        if self.mask is not None or self._replicas is not None:
            return self.mean(x)
        along = 64 if self._rows_only else 8
        steps = [_step(size, along) for size in (self._viewed[1], self._viewed[3])]
        sample = x[:, :: steps[0], :, :: steps[1]]
        count = tf.cast(tf.shape(sample)[1] * tf.shape(sample)[3], x.dtype)
        mean = tf.reduce_sum(sample, [1, 3]) / tf.maximum(count, 1.0)
        return self.statistic(mean)

    def keep(self, x):
        """`x` where the mask keeps it, 0 elsewhere."""
        # Not a product: what is masked may be non-finite.
        return x if self.mask is None else tf.where(self.mask, x, tf.zeros_like(x))

    def _view_mask(self, mask, axis, sizes):
        sizes = [1 if i == axis else size for i, size in enumerate(sizes)]
        groups, before, _, after = self._viewed
        mask = tf.broadcast_to(mask, tf.stack(sizes))
        return tf.reshape(mask, [groups, before, 1, after])

    def _count(self):
        if self.mask is None:
            count = tf.cast(_product([self._viewed[1], self._viewed[3]]), self._dtype)
        else:
            kept = tf.cast(self.mask, self._dtype)
            count = tf.reduce_sum(kept, [1, 3], keepdims=True)
        return self.across_replicas(count)


def replica_context():
    """The replica context to reduce across, or None where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def _sizes(x):
    """The shape of `x` as a list: ints where they are known, else scalar tensors."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]


def _product(sizes):
    known = math.prod(size for size in sizes if isinstance(size, int))
    unknown = [size for size in sizes if not isinstance(size, int)]
    return known * tf.reduce_prod(tf.stack(unknown)) if unknown else known


def _step(size, count):
    """For a sample of `count` to twice as many of `size`, or all of fewer."""
    if isinstance(size, int):
        return max(1, size // count)
    return tf.maximum(1, size // count)


def _group_count(samples, group_size):
    rule = (
        "virtual_batch_size must divide the number of samples of a training batch. "
        f"Received: virtual_batch_size={group_size}, number of samples:"
    )
    if isinstance(samples, int):
        if samples % group_size:
            raise ValueError(f"{rule} {samples}.")
        return samples // group_size
    check = tf.debugging.Assert(samples % group_size == 0, [rule, samples])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(samples) // group_size
