"""Sums over rows that keep their digits, however many rows there are.

A float32 sum that adds one element after the other loses digits with its length. Here
rows are summed in runs, and the sums of the runs in runs again.
"""

import functools

import numpy as np
import tensorflow as tf

from tfbn import _compat

# The measurements behind these numbers: docs/numerics.md.
#
# Up to so many rows, a running float32 sum is exact to 1e-6 even if each step rounds
# the same way, as it does with data of two values.
MAX_RUNNING_SUM = 128
# Up to so many rows, a float64 sum is faster than sums of runs.
MAX_WIDE_SUM = 1024
# Rows in a run: of a product with ones, of a sum that XLA fuses with what makes its
# rows, and of the sums of its runs. XLA is several times as slow with sums that are
# much longer.
RUN = 64
XLA_RUN = 8
XLA_SECOND_RUN = 128


def sum_rows(
    rows: tf.Tensor,
    factor: int,
    *,
    compiled: bool = False,
    exported: bool = False,
) -> tf.Tensor:
    """The sum over the second axis: `[groups, n, channels]` to `[groups, channels]`.

    Args:
        factor: int, a divisor of n known when the graph is made, or n.
        compiled: bool, whether XLA compiles the sum.
        exported: bool, whether it must be float32, the only one TensorFlow Lite has.
    """
    if compiled:
        return _sum_rows_with_xla(rows, factor)
    few = rows.shape[1] is not None and rows.shape[1] <= MAX_WIDE_SUM
    if few and rows.shape[1] <= MAX_RUNNING_SUM:
        pass
    elif few and not exported:
        wide = tf.reduce_sum(tf.cast(rows, tf.float64), axis=1)
        return tf.cast(wide, rows.dtype)
    else:
        rows, factor = _sum_runs(rows, RUN, factor, _multiply_by_ones)
        if factor > 1:
            rows, _ = _sum_runs(rows, RUN, factor, _multiply_by_ones)
    return tf.reduce_sum(rows, axis=1)


def _sum_rows_with_xla(rows, factor):
    # XLA fuses a short sum with what makes its rows. Sums of sums are kept apart, or it
    # would merge them into one long sum.
    rows, factor = _sum_runs(rows, XLA_RUN, factor, _sum_interleaved)
    for _ in range(2):
        if rows.shape[1] is not None and rows.shape[1] <= MAX_RUNNING_SUM:
            break
        rows = kept_apart(rows)
        rows, factor = _sum_runs(rows, XLA_SECOND_RUN, factor, _sum_interleaved)
    return tf.reduce_sum(kept_apart(rows), axis=1)


def divisor(
    number: int | tf.Tensor, largest: int, limit: int | tf.Tensor | None = None
) -> int | tf.Tensor:
    """The largest divisor of `number` up to `largest`.

    Args:
        number: int, or an int32 scalar; the result is of the same kind.
        limit: like `number`; another bound, for divisors of more than 1.
    """
    if isinstance(number, int):
        return _divisor(number, largest if limit is None else min(largest, limit))
    candidates = np.arange(1, largest + 1, dtype=np.int32)
    fits = number % candidates == 0
    if limit is not None:
        fits &= candidates <= limit
    return tf.maximum(tf.reduce_max(tf.where(fits, candidates, 1)), 1)


@functools.lru_cache(maxsize=1024)
def _divisor(number, largest):
    return max(i for i in range(1, max(largest, 1) + 1) if number % i == 0)


def _sum_runs(rows, size, factor, total):
    """`(sums, factor of their number)`: the sums of runs of about `size` rows.

    `total` sums rows in runs of a size that divides their number.
    """
    groups, channels = rows.shape[0], rows.shape[2]
    fitting = divisor(factor, size)
    rest = None
    if fitting >= size // 2 or fitting == rows.shape[1]:
        size, factor = fitting, factor // fitting
    else:
        factor = 1
        number = tf.shape(rows)[1] if rows.shape[1] is None else rows.shape[1]
        whole = number // size * size
        rows, rest = tf.split(rows, [whole, -1], axis=1)
        rest = tf.reduce_sum(rest, axis=1, keepdims=True)
    if groups is None:
        shape = tf.shape(rows)
        groups, number = shape[0], shape[1] // size
    else:
        number = -1
    sums = tf.reshape(total(rows, size, groups, number), [groups, number, channels])
    return sums if rest is None else tf.concat([sums, rest], axis=1), factor


def _sum_interleaved(rows, size, groups, number):
    """Row i is in run i mod the number of runs.

    In this order XLA's loop on a CPU adds neighbouring channels and runs at once, which
    takes half the time of runs of rows that follow each other.
    """
    runs = tf.reshape(rows, [groups, size, number, rows.shape[2]])
    return tf.reduce_sum(runs, axis=1)


def _multiply_by_ones(rows, size, *_):
    """The fastest sum over rows of a CPU: by a matrix product."""
    runs = tf.reshape(rows, [-1, size, rows.shape[2]])
    return tf.ones([1, 1, size], runs.dtype) @ runs


def kept_apart(x: tf.Tensor) -> tf.Tensor:
    """`x` less the last bit of each element, as a number that XLA does not see through.

    XLA merges a sum of sums into one long sum. It also recomputes a value wherever it
    is needed, with more digits in some of the places: without its last bit it is the
    same number in all of them. For derivatives it is `x`.
    """
    if _compat.has_tangent([x]):  # forward mode does not go by custom gradients
        return x + tf.stop_gradient(_without_last_bit(x) - x)  # exactly
    return _kept_apart(x)


@tf.custom_gradient
def _kept_apart(x):
    return _without_last_bit(x), lambda dy: dy


def _without_last_bit(x):
    integer = {tf.float32: tf.int32, tf.float64: tf.int64}[x.dtype]
    bits = tf.bitwise.bitwise_and(tf.bitcast(x, integer), tf.constant(-2, integer))
    return tf.bitcast(bits, x.dtype)
