"""Normalisation by an l_p norm, by its formulas; TensorFlow differentiates them."""

import tensorflow as tf

from tfbn.ops import formula
from tfbn.ops.accelerator_batch import make_batch
from tfbn.ops.requests import Request
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid

NAME = "lp_formula"

is_faster = formula.is_faster
compute_dtype = formula.compute_dtype


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return request.operation == "lp_batch_norm"


def lp_batch_norm(
    x, gamma, beta, request, *, epsilon, order, centered, literal, mask=None
):
    """As `tfbn.ops.lp_batch_norm`, for an `x` of the computation's dtype."""
    batch = make_batch(x, request, mask)
    viewed = batch.view(x)
    if batch.mask is not None:
        # Masked elements may be non-finite; the gradients of the others must not be.
        viewed = tf.where(batch.mask | tf.math.is_finite(viewed), viewed, 0.0)
    statistics = _moments(viewed, batch, epsilon, order, centered, literal)
    gain = batch.statistic(1.0 if gamma is None else gamma)
    offset = batch.statistic(0.0 if beta is None else beta)
    y = batch.restore(formula.affine(viewed, statistics, gain, offset))
    return y, batch.averaged(Statistics(*map(batch.vector, statistics)))


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
