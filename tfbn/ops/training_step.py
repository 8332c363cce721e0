"""A training call of `batch_norm`, forward and backward, by one implementation."""

import dataclasses
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import tensorflow as tf

from tfbn.ops.requests import Request


class Weights(NamedTuple):
    """`[channels]` each, or None."""

    gamma: tf.Tensor | None
    beta: tf.Tensor | None


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """What serves a call. Equal steps are the same function of their tensors.

    Attributes:
        implementation: of `implementations`.
        request: `Request`.
        epsilon: float.
        correction: None, or a function of the batch's `Statistics` (and the averages,
            if there are any) that returns Batch Renormalization's r and d.
    """

    implementation: Any
    request: Request
    epsilon: float
    correction: Callable | None = None

    def forward(self, x, weights, averages=None, mask=None):
        """`(y, statistics, normalizer, r_and_d)`."""
        normalizer = self.normalizer(x, mask)
        r_and_d = None
        if self.correction is not None:
            given = (averages,) if averages else ()
            r_and_d = self.correction(normalizer.statistics, *given)
            r_and_d = tuple(tf.stop_gradient(c) for c in r_and_d)
        y = normalizer.affine(*_affine(weights, r_and_d, normalizer.statistics.scale))
        return y, normalizer.averaged_statistics(), normalizer, r_and_d

    def backward(self, dy, weights, normalizer, r_and_d):
        """The gradients of sum(dy * y) for x and the weights that there are."""
        gain, _ = _affine(weights, r_and_d, normalizer.statistics.scale)
        dx, dgain, doffset = normalizer.gradients(dy, gain)
        dgamma = dgain
        if r_and_d is not None:
            r, d = r_and_d
            dgamma = dgain * r + doffset * d
        of_weights = [
            _summed_like(weight, gradient)
            for weight, gradient in zip(weights, (dgamma, doffset), strict=True)
            if weight is not None
        ]
        return dx, *of_weights

    def normalizer(self, x, mask=None):
        """The implementation's normalizer of a batch."""
        return self.implementation.Normalizer(x, self.request, self.epsilon, mask)


def _affine(weights, r_and_d, scale):
    """gamma * r and gamma * d + beta, in the shape of the statistic `scale`."""
    gamma, beta = (
        None if weight is None else _shaped_like(scale, weight) for weight in weights
    )
    if r_and_d is None:
        gain = tf.ones_like(scale) if gamma is None else gamma
        return gain, tf.zeros_like(scale) if beta is None else beta
    gain, offset = r_and_d
    if gamma is not None:
        gain, offset = gamma * gain, gamma * offset
    return gain, offset if beta is None else offset + beta


def _shaped_like(statistic, weight):
    """`[channels]` in the shape of a statistic, which may have virtual batches."""
    weight = tf.cast(weight, statistic.dtype)
    if statistic.shape.rank == weight.shape.rank:
        return weight
    if statistic.shape[0] == 1:
        return tf.reshape(weight, statistic.shape)
    return tf.broadcast_to(weight, tf.shape(statistic))


def _summed_like(weight, gradient):
    """The inverse of `_shaped_like`, for gradients."""
    if gradient.shape.rank != weight.shape.rank:
        gradient = tf.reduce_sum(gradient, axis=0)
    return tf.cast(gradient, weight.dtype)
