"""Virtual batches: the groups that the samples of a batch are normalised in."""

import tensorflow as tf

ORDERS = ("consecutive", "interleaved")


class VirtualBatches:
    """Groups of samples. What is missing in the last one is filled up, and masked.

    Args:
        samples: int or int32 scalar, the number of samples.
        size: int, the number of samples in a group.
        order: "consecutive", where the samples of a group follow each other and the
            last group is the smaller one; or "interleaved", where sample i is in group
            i mod the number of groups.
        compiled: bool, whether XLA compiles it.

    Attributes:
        number: like `samples`, the number of groups.
        whole: bool, or a scalar tensor if only the graph knows: whether all groups are
            full.
    """

    def __init__(self, samples: int | tf.Tensor, size: int, order: str, compiled: bool):
        self.number = (samples + size - 1) // size
        self._samples, self._size = samples, size
        self._missing = self.number * size - samples
        self._interleaved = order == "interleaved"
        self._compiled = compiled
        self.whole = self._missing == 0

    def arrange(self, x: tf.Tensor) -> tf.Tensor:
        """`x` with the samples of each group one after the other, filled up with 0."""
        x = self.unless_whole(lambda: self._fill_up(x), lambda: x)
        return self._swap(x, [self._size, self.number])

    def restore(self, x: tf.Tensor) -> tf.Tensor:
        """The inverse of `arrange`."""
        x = self._swap(x, [self.number, self._size])
        return x if self.whole is True else x[: self._samples]

    def filled(self, rank: int) -> tf.Tensor:
        """Which elements of an arranged tensor are samples, to be broadcast to it."""
        number = self.number * self._size
        is_sample = tf.range(number) < self._samples
        return self._swap(
            tf.reshape(is_sample, [number, *[1] * (rank - 1)]),
            [self._size, self.number],
        )

    def unless_whole(self, partial, whole):
        """`whole()` if all groups are full, otherwise `partial()`."""
        if isinstance(self.whole, bool):
            return whole() if self.whole else partial()
        # XLA knows by the time it compiles; a conditional would keep it from fusing.
        return partial() if self._compiled else tf.cond(self.whole, whole, partial)

    def _fill_up(self, x):
        return tf.pad(x, [[0, self._missing], *[[0, 0]] * (x.shape.rank - 1)])

    def _swap(self, x, sizes):
        """Swaps the two axes of `sizes` that the first axis is made of."""
        if not self._interleaved:
            return x
        shape = tf.shape(x)
        x = tf.reshape(x, tf.concat([sizes, shape[1:]], 0))
        order = [1, 0, *range(2, x.shape.rank)]
        return tf.reshape(tf.transpose(x, order), shape)
