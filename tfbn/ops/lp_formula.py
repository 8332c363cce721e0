"""Normalisation by an l_p norm, by its formulas.

TensorFlow differentiates the statistics. The sums of the gradient are those of `Batch`,
for TensorFlow's own would be long ones.
"""

import tensorflow as tf

from tfbn.ops import formula
from tfbn.ops import one_pass
from tfbn.ops import replicas as replicas_lib
from tfbn.ops.accelerator_batch import make_batch
from tfbn.ops.batch import upcast
from tfbn.ops.replicas import Moments
from tfbn.ops.requests import Request
from tfbn.ops.statistics import Statistics
from tfbn.ops.statistics import is_valid

NAME = "lp_formula"

is_faster = formula.is_faster
compute_dtype = one_pass.compute_dtype  # and for the same reason


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    return request.operation == "lp_batch_norm"


def lp_batch_norm(
    x, gamma, beta, request, *, epsilon, order, centered, literal, mask=None
):
    """As `tfbn.ops.lp_batch_norm`; y is in the dtype of the computation."""
    batch = make_batch(x, request, mask)
    sampled = batch.view(x)
    viewed = upcast(sampled)
    if batch.mask is not None:
        # Masked elements may be non-finite; the gradients of the others must not be.
        viewed = tf.where(batch.mask | tf.math.is_finite(viewed), viewed, 0.0)
    statistics = _moments(viewed, sampled, batch, epsilon, order, centered, literal)
    gain = batch.statistic(1.0 if gamma is None else gamma)
    offset = batch.statistic(0.0 if beta is None else beta)
    y = batch.restore(_affine(viewed, statistics, batch, gain, offset))
    return y, batch.averaged(Statistics(*map(batch.vector, statistics)))


def _affine(x, statistics, batch, gain, offset):
    """`formula.affine`; its gradient has no sums but two of the batch."""
    mean, remainder, _, scale, _ = statistics
    gain, offset = (tf.broadcast_to(v, tf.shape(scale)) for v in (gain, offset))
    y = formula.affine(x, statistics, gain, offset)

    def gradients(dy):
        normalized = (x - mean - remainder) / scale
        product = formula.masked_product(normalized, dy, batch)
        dgain, doffset = batch.total(product, dy)
        slope = gain / scale
        dmean, dscale = -slope * doffset, -slope * dgain
        return slope * dy, dmean, dmean, dscale, dgain, doffset

    @tf.custom_gradient
    def differentiable(*inputs):
        del inputs  # only for the gradients to arrive at
        return y, gradients

    return differentiable(x, mean, remainder, scale, gain, offset)


def _moments(x, sampled, batch, epsilon, order, centered, literal):
    replicas = batch.replicas
    mean, remainder = formula.mean(x, sampled, batch)
    part = Moments(mean, remainder, tf.zeros_like(mean), batch.count)
    if centered:
        # Of all replicas: distances are measured before they can be joined.
        whole = replicas.join(part, replicas_lib.mean_spread)
        x = x - whole.mean - whole.remainder
    part = part._replace(spread=_mean_power(x, order, batch))
    joined = replicas_lib.largest_spread if order == "inf" else replicas_lib.mean_spread
    mean, remainder, power, count = replicas.join(part, joined)
    norm = _root(power) if order == 2 else power
    if literal:
        count_or_1 = tf.maximum(tf.cast(count, x.dtype), 1.0)
        norm *= count_or_1 ** {1: 0.0, 2: -0.5, "inf": -1.0}[order]
    valid = is_valid(count, mean, norm)
    return Statistics(mean, remainder, norm, norm + epsilon, valid)


def _mean_power(x, order, batch):
    """The mean of |x|^p over the elements; their maximum for p = inf."""
    if order == 1:
        return batch.mean(tf.abs(x))
    return batch.maximum(tf.abs(x)) if order == "inf" else batch.mean(tf.square(x))


def _root(square):
    # The gradient of sqrt at 0 is infinite; a constant-zero channel gets 0 instead.
    positive = square > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, square, 1.0)), 0.0)
