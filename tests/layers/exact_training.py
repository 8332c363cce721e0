"""What a training call has to give, in wide numbers, and how far off a result may be.

Tolerances, with u for the rounding unit of the statistics' dtype (float32: 2**-24):

- Of each result: `ULPS * u` of the sum of the magnitudes of the terms that the formula
  adds up for it; terms may cancel, and no algorithm then keeps the result's digits.
- Of `x - mean`, one such term: of its own magnitude, the largest in the channel, and
  `MEAN_ULPS * u * |mean|`, by which the shift near the mean may miss it. So an offset
  costs u**2 of itself, which shows where a deviation and epsilon are as small as that.
- Of results in half precision: its rounding, once.

References are computed in long double, for NumPy's sums over rows lose digits with
their number, on data shifted by the first kept element of each channel.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tests import strategies
from tests import testing_utils

# 32 * 2**-24 is 2e-6: the exactness that tfbn promises.
ULPS = 32
# A float32 sum of some thousand elements, as the mean of masked data is one.
MEAN_ULPS = 32

# The rounding units. That of float64, of whose last digits nothing is promised, counts
# eight times: its sums of up to 1024 rows are running sums, and with data of two values
# each step of one rounds the same way.
UNITS = {"float32": 2.0**-24, "float64": 2.0**-50}
HALF_UNITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
# Digits end there: float16's last subnormal, and normal numbers of others, for XLA and
# some kernels take 0 for what is smaller.
SMALLEST = {"float16": 2.0**-24}


@dataclasses.dataclass
class Expected:
    """A result, and how far a computed one may be from it, element by element."""

    value: np.ndarray
    tolerance: np.ndarray

    def chosen(self, elements):
        """The same of some elements."""
        return Expected(self.value[elements], self.tolerance[elements])

    def around(self, other):
        """What a result is to be, if `other` is one: two tolerances from it at most.

        `other` may be rounded to a half precision as well.
        """
        return Expected(strategies.wide(other), 2.0 * self.tolerance)

    def excess(self, actual, dtype):
        """The largest error of a result in `dtype`, in units of the tolerance."""
        numbers = tf.as_dtype(dtype)
        largest = float(numbers.max)
        actual = np.clip(strategies.wide(actual), -largest, largest)
        value = np.clip(self.value, -largest, largest)
        tolerance = self.tolerance + SMALLEST.get(dtype, 2.0**-126)
        if numbers.size < 4:
            tolerance = tolerance + HALF_UNITS[dtype] * np.abs(value)
        excess = np.abs(actual - value) / tolerance
        return float(np.max(np.where(np.isnan(excess), np.inf, excess), initial=0.0))


def exact_inference(batch, layer, mean, scale):
    """`Expected` y, and gradients for x, gamma and beta, with given averages."""
    gamma, beta = affine(layer)
    x, upstream = batch.rows(batch.clean), batch.rows(batch.upstream)
    normalized = (x - mean) / scale
    values = [
        gamma * normalized + beta,
        gamma / scale * upstream,
        np.sum(upstream * normalized, axis=0),
        np.sum(upstream, axis=0),
    ]
    sizes = [
        np.abs(gamma * normalized) + np.abs(beta),
        np.abs(values[1]),
        np.sum(np.abs(upstream * normalized), axis=0),
        np.sum(np.abs(upstream), axis=0),
    ]
    # The gradients of gamma and beta are running sums, whose steps may all round the
    # same way.
    ulps = [ULPS, ULPS, ULPS + len(x), ULPS + len(x)]
    unit = UNITS[batch.statistics_dtype]
    y, *gradients = [
        Expected(value, n * unit * size)
        for value, n, size in zip(values, ulps, sizes, strict=True)
    ]
    return y, gradients


class ExactTraining:
    """A training call of batch normalisation or Batch Renormalization.

    Attributes:
        reference: `testing_utils.VirtualBatches` of the shifted data.
        shift: `[channels]`.
        valid: whether the averages move.
    """

    def __init__(self, batch, layer):
        rows, kept = batch.rows(batch.clean), batch.rows(batch.kept)[:, 0] > 0
        self.unit = UNITS[batch.statistics_dtype]
        self.valid = bool(np.any(kept))
        self.shift = rows[np.argmax(kept)] if self.valid else np.zeros(batch.channels)
        self.reference = testing_utils.VirtualBatches(
            self._shifted(rows, kept, batch.groups),
            batch.groups,
            layer.epsilon,
            *affine(layer),
            keep=kept,
        )
        self._lost = MEAN_ULPS * self.unit * _largest(rows, kept)
        self._d_errors = [0.0] * batch.groups

    def correct(self, mean, stddev, rmax, dmax):
        """Sets r and d from the averages before the call."""
        for i, group in enumerate(self.reference.groups):
            shift = self.shift if group.count else 0.0
            group.correct(mean - shift, stddev, rmax, dmax)
            drift = group.mean - (mean - shift)
            slack = self.unit * ULPS * (np.abs(drift) + self._widest(group))
            ends = [np.clip((drift + s) / stddev, -dmax, dmax) for s in (-slack, slack)]
            self._d_errors[i] = ends[1] - ends[0]
        return self

    def output(self):
        parts = []
        for group, d_error in zip(self.reference.groups, self._d_errors, strict=True):
            terms = np.abs(group.gamma) * (self._normalized(group) + np.abs(group.d))
            tolerance = self.unit * ULPS * (terms + np.abs(group.beta))
            parts.append(tolerance + np.abs(group.gamma) * d_error)
        return Expected(self.reference.output, np.concatenate(parts))

    def gradients(self, upstream):
        """Those of sum(upstream * output) for x, gamma and beta."""
        values = self.reference.gradients(upstream)
        groups = self.reference.groups
        parts = np.split(np.abs(upstream), len(groups))
        tolerances = [
            self._gradient_tolerances(*arguments)
            for arguments in zip(groups, parts, self._d_errors, strict=True)
        ]
        dx, dgamma, dbeta = zip(*tolerances, strict=True)
        tolerances = np.concatenate(dx), sum(dgamma), sum(dbeta)
        return [Expected(*pair) for pair in zip(values, tolerances, strict=True)]

    def statistics(self):
        """Those of the batch that the averages take, by name."""
        filled = self.reference.filled
        size = self._lost / (MEAN_ULPS * self.unit)
        widest = np.mean([self._widest(group) for group in filled], axis=0)
        variance, sigma = self.reference.variance, self.reference.sigma
        slack = self._lost * self.unit * ULPS
        return {
            "mean": Expected(
                self.reference.mean + self.shift, self.unit * ULPS * (widest + size)
            ),
            "variance": Expected(variance, self.unit * ULPS * variance + slack**2),
            "sigma": Expected(sigma, self.unit * ULPS * sigma + slack),
        }

    def smooth(self):
        """Where the gradient is tested: everywhere."""
        return np.s_[:]

    def average(self, before, momentum, name):
        """A moving average after the call."""
        if not self.valid:
            return Expected(before, np.zeros_like(before))
        batch = self.statistics()[name]
        value = momentum * before + (1.0 - momentum) * batch.value
        tolerance = self.unit * ULPS * (momentum * np.abs(before))
        return Expected(value, tolerance + (1.0 - momentum) * batch.tolerance)

    def _shifted(self, rows, kept, number):
        """Empty groups have the mean 0, whatever the others are: they stay so."""
        filled = np.repeat(
            [np.any(part) for part in np.split(kept, number)], len(kept) // number
        )
        return rows - np.where(filled[:, np.newaxis], self.shift, 0.0)

    def _widest(self, group):
        """The largest distance from the mean, and what the shift may add to it."""
        centred = np.abs(group.x - group.mean)
        kept = group.keep[:, np.newaxis]
        return np.max(centred, axis=0, where=kept, initial=0.0) + self._lost

    def _normalized(self, group):
        """The sum of the magnitudes that make |normalized| without d."""
        centred = np.abs(group.x - group.mean) + self._widest(group)
        return centred / group.sigma * group.r

    def _gradient_tolerances(self, group, upstream, d_error):
        normalized = self._normalized(group)
        count = max(group.count, 1)
        slope = np.sum(upstream * normalized / group.r, axis=0) / count
        level = np.sum(upstream, axis=0) / count
        through_moments = (normalized / group.r * slope + level) * group.keep[:, None]
        dx = np.abs(group.gamma) * group.r / group.sigma * (upstream + through_moments)
        dgamma = np.sum(upstream * (normalized + np.abs(group.d)), axis=0)
        dbeta = np.sum(upstream, axis=0)
        dx, dgamma, dbeta = (self.unit * ULPS * t for t in (dx, dgamma, dbeta))
        return dx, dgamma + dbeta / (self.unit * ULPS) * d_error, dbeta


class ExactLpTraining:
    """A training call of LpBatchNorm, with the interface of `ExactTraining`."""

    def __init__(self, batch, layer):
        rows, kept = batch.rows(batch.clean), batch.rows(batch.kept)[:, 0] > 0
        self.unit = UNITS[batch.statistics_dtype]
        self.valid = bool(np.any(kept))
        self._ulps = ULPS * self.unit
        self._lost = MEAN_ULPS * self.unit * _largest(rows, kept)
        options = {k: getattr(layer, k) for k in ("order", "centered", "literal")}
        self.reference = testing_utils.VirtualBatches(
            rows,
            batch.groups,
            layer.epsilon,
            *affine(layer),
            keep=kept,
            make=functools.partial(testing_utils.LpNorm, **options),
        )

    def output(self):
        parts = []
        for group in self.reference.groups:
            gain = np.abs(group.gamma) / group.scale
            centred = np.abs(group.centred)
            sizes = gain * (centred + self._widest(group)) + np.abs(group.beta)
            through_norm = gain * centred / group.scale * self._norm_error(group)
            parts.append(self._ulps * sizes + through_norm)
        return Expected(self.reference.output, np.concatenate(parts))

    def gradients(self, upstream):
        """Those of sum(upstream * output) for x, gamma and beta."""
        values = self.reference.gradients(upstream)
        parts = np.split(np.abs(upstream), len(self.reference.groups))
        dx, dgamma = zip(
            *map(self._gradient_tolerances, self.reference.groups, parts), strict=True
        )
        # TensorFlow's derivatives have running sums, which may all round the same way.
        running = self._ulps * (1.0 + len(upstream) / ULPS)
        dbeta = running * np.sum(np.abs(upstream), axis=0)
        tolerances = running * np.concatenate(dx), running * sum(dgamma), dbeta
        return [Expected(*pair) for pair in zip(values, tolerances, strict=True)]

    def average(self, before, momentum, name):
        """A moving average after the call."""
        if not self.valid:
            return Expected(before, np.zeros_like(before))
        filled = self.reference.filled
        # Of the mean over the groups, which may cancel.
        errors = self._ulps * np.mean([np.abs(getattr(g, name)) for g in filled], 0)
        if name == "norm":
            errors += np.mean([self._norm_error(g) for g in filled], 0)
        else:
            errors *= 2.0
            errors += self._ulps * np.mean([self._widest(g) for g in filled], 0)
        value = momentum * before + (1.0 - momentum) * self.reference.average(name)
        tolerance = self._ulps * momentum * np.abs(before)
        return Expected(value, tolerance + (1.0 - momentum) * errors)

    def smooth(self):
        """Where rounding does not change the norm's gradient, `[elements, channels]`.

        It does where an element crosses the mean, or another becomes the largest.
        """
        groups = self.reference.groups
        return np.repeat([self._is_smooth(g) for g in groups], len(groups[0].x), axis=0)

    def _is_smooth(self, group):
        if not group.centered:
            return np.ones_like(group.norm, bool)
        slack = self._ulps * self._widest(group)
        sizes = np.where(group.kept, np.abs(group.centred), np.nan)
        if group.order == 1:
            return ~np.any(sizes <= 4.0 * slack, axis=0)
        if group.order == 2:
            return group.power_mean > 1e4 * slack
        near = np.nansum(sizes >= group.power_mean - 4.0 * slack, axis=0)
        return (near == 1) & (group.power_mean > 1e4 * slack)

    def _widest(self, group):
        return np.max(np.abs(group.centred * group.kept), axis=0) + self._lost

    def _norm_error(self, group):
        slack = self._widest(group) * group.factor if group.centered else 0.0
        return self._ulps * (group.norm + slack)

    def _gradient_tolerances(self, group, sizes):
        """Of dx and dgamma, in units of the rounding of a sum."""
        gain = np.abs(group.gamma) / group.scale
        centred = np.abs(group.centred) + self._widest(group)
        slopes = np.sum(sizes * centred, axis=0) * gain / group.scale
        # The gradient of the norm is a mean of signs, or a share of the largest.
        share = group.kept * group.factor / group.divisor
        through_norm = slopes * (np.abs(group.norm_gradient()) + share)
        direct = gain * (sizes + np.sum(sizes, axis=0) / group.divisor)
        blurred = 1.0 + self._norm_error(group) / group.scale / self._ulps
        dgamma = np.sum(sizes * centred, axis=0) / group.scale
        return (direct + through_norm) * blurred, dgamma * blurred


def _largest(rows, kept):
    return np.max(np.abs(rows), axis=0, where=kept[:, np.newaxis], initial=0.0)


def expected_training(batch, layer):
    """What the next training call of a layer on a batch has to give."""
    if hasattr(layer, "order"):
        return ExactLpTraining(batch, layer)
    exact = ExactTraining(batch, layer)
    if hasattr(layer, "rmax"):
        # The bounds as the layer has them: ramps are float32, a batch may be wider.
        rmax, dmax = (np.longdouble(float(bound)) for bound in layer.bounds())
        mean, stddev = map(strategies.wide, (layer.renorm_mean, layer.renorm_stddev))
        exact.correct(mean, np.maximum(stddev, np.sqrt(layer.epsilon)), rmax, dmax)
    return exact


def set_weights(layer, rng):
    """Random ones: gamma and beta of either sign, averages of spreads positive."""
    testing_utils.set_random_state(layer, rng)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))


def affine(layer):
    """gamma and beta, or what stands for them."""
    values = (layer.gamma, 1.0), (layer.beta, 0.0)
    return [
        np.longdouble(default)
        if weight is None
        else weight.numpy().astype("longdouble")
        for weight, default in values
    ]


def train(layer, batch, mode="eager"):
    """`(y, gradients)` of a training call: for x and each trainable weight.

    `mode` is one of `testing_utils.MODES` or "unknown_size".
    """
    return train_on(layer, batch.x, batch.upstream, batch.mask, mode)


def train_on(layer, x, upstream, mask=None, mode="eager"):
    """`train` with arrays."""
    x, upstream = (tf.cast(array, layer.compute_dtype) for array in (x, upstream))
    mask = None if mask is None else tf.constant(mask)

    def call(x, upstream):
        variables = [w.value for w in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, mask=mask)
        return y, tape.gradient(y, [x, *variables], upstream)

    if mode == "unknown_size":
        of_any_size = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
        call = tf.function(call, input_signature=[of_any_size] * 2)
    elif mode != "eager":
        call = tf.function(call, jit_compile=mode == "xla")
    return call(x, upstream)
