"""Statistics of a batch that is divided among replicas, one message in each direction.

Each replica takes the statistics of its part. What is sent are not sums of the data and
their squares, whose difference has no digits left where the mean is large, but mean,
spread and count of each part, which every replica then joins. They travel in one
all-reduce, in which each replica adds its own row of a table to zeros: the result is
exact, the same on all replicas, and TensorFlow differentiates it with one all-reduce.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import tensorflow as tf

from tfbn.ops import requests
from tfbn.ops.requests import Request
from tfbn.ops.statistics import rounded_sum


class Moments(NamedTuple):
    """Mean and spread of the elements of one part, or of all parts joined.

    Attributes:
        mean, remainder: as in `Statistics`.
        spread: the biased variance, or another mean over the elements.
        count: the number of elements, in the same dtype. It may have fewer channels.
    """

    mean: tf.Tensor
    remainder: tf.Tensor
    spread: tf.Tensor
    count: tf.Tensor


class Replicas:
    """The replicas that share statistics. Of a single one nothing is sent.

    Args:
        request: the `Request` of the call.
    """

    def __init__(self, request: Request):
        context: Any = requests.replica_context() if request.replicated else None
        self._context = context

    @property
    def several(self) -> bool:
        """Whether others have parts of the batch."""
        return self._context is not None

    def join(self, part: Moments, join_spreads: Callable | None = None) -> Moments:
        """The moments of the whole batch, of those of this replica's part.

        Args:
            part: `Moments` of this replica.
            join_spreads: None if the spread is the variance, or a function of the
                `Moments` of all parts, stacked along a new axis 0, and of their shares
                of the elements, that returns the spread of the whole.
        """
        if not self.several:
            return part
        part = part._replace(count=tf.convert_to_tensor(part.count, part.mean.dtype))
        parts = Moments(*self.gather(part))
        if part.count.shape.rank == 0:
            along = [-1, *[1] * part.mean.shape.rank]
            parts = parts._replace(count=tf.reshape(parts.count, along))
        count = tf.reduce_sum(parts.count, 0)
        shares = parts.count / tf.maximum(count, 1.0)
        mean, remainder = _joined_mean(parts, shares)
        if join_spreads is None:
            deviations = (parts.mean - mean) + (parts.remainder - remainder)
            parts = parts._replace(spread=parts.spread + tf.square(deviations))
        spread = (join_spreads or mean_spread)(parts, shares)
        return Moments(mean, remainder, spread, tf.reshape(count, part.count.shape))

    def gather(self, values) -> list[tf.Tensor]:
        """Each of the values, of one dtype, with those of all replicas on a new axis 0.

        Their shapes must be known when the graph is made.
        """
        sizes = [value.shape.num_elements() for value in values]
        row = tf.concat([tf.reshape(value, [-1]) for value in values], 0)
        number = self._context.num_replicas_in_sync
        is_mine = tf.range(number) == self._context.replica_id_in_sync_group
        # A product with 0 would send a NaN to the rows of others.
        table = tf.where(is_mine[:, tf.newaxis], row, tf.zeros_like(row))
        columns = tf.split(self._sum(table), sizes, axis=1)
        return [
            tf.reshape(column, [number, *value.shape])
            for column, value in zip(columns, values, strict=True)
        ]

    def totals(self, *sums: tf.Tensor) -> list[tf.Tensor]:
        """The sums over the replicas, of sums of one shape and dtype."""
        if not self.several:
            return list(sums)
        return tf.unstack(self._sum(tf.stack(sums)), num=len(sums))

    def _sum(self, value):
        return self._context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def mean_spread(parts: Moments, shares: tf.Tensor) -> tf.Tensor:
    """The mean over all elements, of the means of the parts."""
    return tf.reduce_sum(shares * parts.spread, 0)


def largest_spread(parts: Moments, shares: tf.Tensor) -> tf.Tensor:
    """The largest of the parts."""
    del shares
    return tf.reduce_max(parts.spread, 0)


def _joined_mean(parts, shares):
    """`(mean, remainder)` of all parts."""
    # Around what is nearly the mean, a weighted sum of large numbers keeps its digits.
    near = tf.stop_gradient(tf.reduce_sum(shares * parts.mean, 0))
    rest = tf.reduce_sum(shares * ((parts.mean - near) + parts.remainder), 0)
    return rounded_sum(near, rest)
