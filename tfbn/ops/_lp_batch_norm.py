"""Normalisation by an l_p norm."""

import tensorflow as tf

from tfbn.ops import formula
from tfbn.ops.batch import Batch
from tfbn.ops.batch import upcast
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid


def lp_batch_norm(
    x,
    gamma,
    beta,
    *,
    axis,
    epsilon,
    order,
    centered=False,
    literal=False,
    **options,
):
    """Normalises with the batch's mean and l_p norm (Santurkar et al. 2018, sec. 3.3).

    `y = gamma * (x - mean(x)) / (norm_p(x) + epsilon) + beta`.

    Args:
        x, gamma, beta, axis, epsilon: as in `batch_norm`.
        order: 1, 2 or "inf".
        centered: bool, take the norm of `x - mean(x)` instead of `x`.
        literal: bool, divide the norm of the m elements by m. Otherwise the norm is
            the power mean `(mean |x|^p)^(1/p)`, and max|x| for "inf".
        **options: `mask`, `synchronized`, `virtual_batch_size`, as in `batch_norm`.

    Returns:
        `(y, statistics)` as `batch_norm`; `statistics.spread` is the norm.
    """
    wide = upcast(x)
    batch = Batch(wide, axis, **options)
    viewed = batch.view(wide)
    if batch.mask is not None:
        # What is masked may be non-finite; not so in the gradients of what is not.
        viewed = tf.where(batch.mask | tf.math.is_finite(viewed), viewed, 0.0)
    statistics = _moments(viewed, batch, epsilon, order, centered, literal)
    gain = batch.statistic(1.0 if gamma is None else gamma)
    offset = batch.statistic(0.0 if beta is None else beta)
    y = batch.restore(formula.affine(viewed, statistics, gain, offset))
    return tf.cast(y, x.dtype), statistics.map(
        lambda s: batch.over_groups(batch.vector(s))
    )


def _moments(x, batch, epsilon, order, centered, literal):
    mean, remainder = formula.mean(x, batch)
    norm = _power_mean(x - mean - remainder if centered else x, order, batch)
    if literal:
        count = tf.maximum(tf.cast(batch.count, x.dtype), 1.0)
        norm *= count ** {1: 0.0, 2: -0.5, "inf": -1.0}[order]
    valid = is_valid(batch.count, mean, norm)
    return Statistics(mean, remainder, norm, norm + epsilon, valid)


def _power_mean(x, order, batch):
    if order == 1:
        return batch.mean(tf.abs(x))
    if order == "inf":
        return batch.maximum(tf.abs(x))
    square = batch.mean(tf.square(x))
    # The gradient of sqrt at 0 is infinite; a constant-zero channel gets 0 instead.
    positive = square > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, square, 1.0)), 0.0)
