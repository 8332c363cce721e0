"""Sums over rows that keep their digits, however many rows there are.

A float32 sum that takes one element after the other loses digits with its length. Here
rows are summed in runs, and the sums of the runs in runs again.
"""

import functools

import numpy as np
import tensorflow as tf

from tfbn import _compat


def sum_rows(rows, factor, *, are_sums=False):
    """The sum over the second axis: `[groups, n, channels]` to `[groups, channels]`.

    Args:
        factor: int, a divisor of n known when the graph is made, or n.
        are_sums: bool, whether the rows are sums themselves.
    """
    few = rows.shape[1] is not None and rows.shape[1] <= _FEW
    if few and rows.shape[1] > _VERY_FEW and not compiled():
        wide = tf.reduce_sum(tf.cast(rows, tf.float64), axis=1)
        return tf.cast(wide, rows.dtype)
    if compiled():
        # XLA makes one loop of a short sum and what it sums, but one sum of two sums:
        # only the product with ones keeps runs apart.
        rows, factor = _sum_runs(rows, 16, factor, _sum_each)
        if are_sums or not few:
            rows, _ = _sum_runs(rows, 256, factor, _multiply_by_ones)
    elif not few:
        rows, factor = _sum_runs(rows, 64, factor, _multiply_by_ones)
        if factor > 1:
            rows, _ = _sum_runs(rows, 64, factor, _multiply_by_ones)
    return tf.reduce_sum(rows, axis=1)


# Of so many, wider numbers are the cheapest.
_FEW = 1024
# A running sum of so many is exact to 1e-6, even where each step rounds the same way,
# as with data of two values.
_VERY_FEW = 128


def compiled():
    """Whether what is traced now will be compiled by XLA."""
    return _compat.in_xla_context()


def divisor(number, largest, limit=None):
    """The largest divisor of `number` up to `largest`, a Python int.

    Args:
        number: int, or an int32 scalar; then so is the result.
        limit: like `number`; a divisor of more than one has to be up to that too.
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
    """`(sums, factor of their number)`: the sums of runs of some `size` rows.

    `total` sums `[runs, size, channels]` over its second axis, which it keeps.
    """
    groups, channels = tf.shape(rows)[0], rows.shape[2]
    fitting = divisor(factor, size)
    rest = None
    if fitting >= size // 2 or fitting == rows.shape[1]:
        size, factor = fitting, factor // fitting
    else:
        factor = 1
        whole = tf.shape(rows)[1] // size * size
        rest = tf.reduce_sum(rows[:, whole:], axis=1, keepdims=True)
        rows = rows[:, :whole]
    runs = tf.shape(rows)[1] // size
    sums = total(tf.reshape(rows, [groups * runs, size, channels]))
    sums = tf.reshape(sums, [groups, runs, channels])
    return sums if rest is None else tf.concat([sums, rest], axis=1), factor


def _sum_each(runs):
    return tf.reduce_sum(runs, axis=1, keepdims=True)


def _multiply_by_ones(runs):
    """The fastest sum over rows that a CPU has."""
    # XLA makes a slow sum again of a product with a broadcast row.
    count = tf.shape(runs)[0] if compiled() else 1
    return tf.ones([count, 1, runs.shape[1]], runs.dtype) @ runs
