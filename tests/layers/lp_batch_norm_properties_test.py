"""Property tests of LpBatchNorm against wider numbers.

For the tolerances see tests/layers/exact_training.py.
"""

import dataclasses

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

import tfbn
from tests import strategies
from tests import testing_utils
from tests.layers import exact_training
from tests.layers import properties

Expected = exact_training.Expected


def options():
    return st.fixed_dictionaries(
        {
            "order": st.sampled_from((1, 2, "inf")),
            "centered": st.booleans(),
            "literal": st.booleans(),
        }
    )


@dataclasses.dataclass
class LpGroup:
    """The normalisation of one virtual batch, by the docstring of LpBatchNorm.

    Attributes:
        rows: `[elements, channels]`.
        centred: `rows - mean`, of the kept.
        lost: `[channels]`, what the shift near the mean may miss.
    """

    rows: np.ndarray
    keep: np.ndarray
    lost: np.ndarray
    layer: tfbn.LpBatchNorm
    gamma: np.ndarray
    beta: np.ndarray
    ulps: float

    def __post_init__(self):
        self.kept = self.keep[:, np.newaxis]
        self.count = max(np.sum(self.keep), 1)
        shift = self.rows[np.argmax(self.keep)] if np.any(self.keep) else 0.0
        rest = np.sum((self.rows - shift) * self.kept, axis=0) / self.count
        self.mean = shift + rest
        self.centred = self.rows - shift - rest
        self.measured = (self.centred if self.layer.centered else self.rows) * self.kept
        powers = {1: 0.0, 2: -0.5, "inf": -1.0}
        literal = self.layer.literal
        self.factor = self.count ** powers[self.layer.order] if literal else 1.0
        self.widest = np.max(np.abs(self.centred * self.kept), axis=0) + self.lost
        self.plain = self._power_mean()
        self.norm = self.plain * self.factor
        self.scale = self.norm + self.layer.epsilon
        slack = self.widest * self.factor if self.layer.centered else 0.0
        self.norm_error = self.ulps * (self.norm + slack)

    def _power_mean(self):
        sizes = np.abs(self.measured)
        if self.layer.order == "inf":
            return np.max(sizes, axis=0)
        total = np.sum(sizes**self.layer.order, axis=0) / self.count
        return total ** (1.0 / self.layer.order)

    def output(self):
        gain = np.abs(self.gamma) / self.scale
        sizes = gain * (np.abs(self.centred) + self.widest) + np.abs(self.beta)
        through_norm = gain * np.abs(self.centred) / self.scale * self.norm_error
        value = self.gamma * self.centred / self.scale + self.beta
        return Expected(value, self.ulps * sizes + through_norm)

    def norm_gradient(self):
        """Of the norm, for each kept element."""
        if self.layer.order == 1:
            gradient = np.sign(self.measured) / self.count
        elif self.layer.order == 2:
            norm = np.where(self.plain > 0.0, self.plain, 1.0)
            gradient = self.measured / (self.count * norm)
        else:
            largest = (np.abs(self.measured) == self.plain) & self.kept
            gradient = np.sign(self.measured) * largest
            gradient = gradient / np.maximum(np.sum(largest, axis=0), 1)
        if self.layer.centered:
            gradient = gradient - self.kept * np.sum(gradient, axis=0) / self.count
        return gradient * self.factor

    def input_gradient(self, upstream):
        gain = self.gamma / self.scale
        direct = upstream - self.kept * np.sum(upstream, axis=0) / self.count
        slope = -np.sum(upstream * self.centred, axis=0) * gain / self.scale
        through_norm = self.norm_gradient()
        sizes = np.abs(upstream)
        slopes = np.sum(sizes * (np.abs(self.centred) + self.widest), axis=0)
        slopes = slopes * np.abs(gain) / self.scale
        tolerance = np.abs(gain) * (sizes + np.sum(sizes, axis=0) / self.count)
        # The gradient of the norm is a mean of signs, or a share of the largest.
        size = np.abs(through_norm) + self.kept * self.factor / self.count
        tolerance = tolerance * (1.0 + self.norm_error / self.scale / self.ulps)
        through = slopes * size * (1.0 + self.norm_error / self.scale / self.ulps)
        value = gain * direct + slope * through_norm
        # TensorFlow's derivatives have running sums, which may all round the same way.
        ulps = self.ulps * (1.0 + len(self.rows) / exact_training.ULPS)
        return Expected(value, ulps * (tolerance + through))

    def smooth(self):
        """The channels where rounding does not turn the gradient of the norm.

        As it does where an element crosses the mean, or another becomes the largest.
        """
        if not self.layer.centered:
            return np.ones_like(self.norm, bool)
        slack = self.ulps * self.widest
        sizes = np.where(self.kept, np.abs(self.centred), np.nan)
        if self.layer.order == 1:
            return ~np.any(sizes <= 4.0 * slack, axis=0)
        if self.layer.order == 2:
            return self.plain > 1e4 * slack
        near = np.nansum(sizes >= self.plain - 4.0 * slack, axis=0)
        return (near == 1) & (self.plain > 1e4 * slack)


class TrainingTest(properties.PropertiesTestCase):
    def groups(self, batch, layer):
        rows, kept = batch.rows(batch.clean), batch.rows(batch.kept)[:, 0] > 0
        size = np.max(np.abs(rows) * kept[:, np.newaxis], axis=0)
        unit = exact_training.UNITS[batch.statistics_dtype]
        gamma, beta = exact_training.affine(layer)
        lost = exact_training.MEAN_ULPS * unit * size
        ulps = exact_training.ULPS * unit
        parts = (np.split(array, batch.groups) for array in (rows, kept))
        return [
            LpGroup(r, k, lost, layer, gamma, beta, ulps)
            for r, k in zip(*parts, strict=True)
        ]

    def assert_training(self, batch, plain, own, mode="eager"):
        layer = properties.make(tfbn.LpBatchNorm, batch, **plain, **own)
        before = testing_utils.state(layer)
        groups = self.groups(batch, layer)
        y, (dx, *_) = exact_training.train(layer, batch, mode)
        outputs = [group.output() for group in groups]
        chosen = batch.rows(batch.kept) > 0 if batch.poisoned else np.s_[:]
        expected = self.joined(outputs).chosen(chosen)
        self.assert_expected(batch.rows(y)[chosen], expected, batch.dtype, "y")
        parts = np.split(batch.rows(batch.upstream), batch.groups)
        gradients = self.joined(
            [g.input_gradient(u) for g, u in zip(groups, parts, strict=True)]
        )
        smooth = np.repeat([g.smooth() for g in groups], len(groups[0].rows), axis=0)
        self.assert_expected(
            batch.rows(dx)[smooth], gradients.chosen(smooth), batch.dtype, "dx"
        )
        self.assert_averages(layer, before, groups, batch)

    def joined(self, parts):
        values, tolerances = zip(*((p.value, p.tolerance) for p in parts), strict=True)
        return Expected(np.concatenate(values), np.concatenate(tolerances))

    def assert_averages(self, layer, before, groups, batch):
        filled = [group for group in groups if np.any(group.keep)]
        for name, error in (("mean", None), ("norm", "norm_error")):
            old = strategies.wide(before[f"moving_{name}"])
            new = getattr(layer, f"moving_{name}")
            if not filled:
                self.assertAllEqual(new, before[f"moving_{name}"])
                continue
            value = np.mean([getattr(group, name) for group in filled], axis=0)
            errors = [
                getattr(g, error) if error else g.ulps * (np.abs(g.mean) + g.widest)
                for g in filled
            ]
            # Of the mean over the groups, which may cancel.
            sizes = np.mean([np.abs(getattr(g, name)) for g in filled], axis=0)
            momentum, ulps = layer.momentum, filled[0].ulps
            tolerance = (1.0 - momentum) * (np.mean(errors, axis=0) + ulps * sizes)
            tolerance += ulps * momentum * np.abs(old)
            wanted = momentum * old + (1.0 - momentum) * value
            self.assert_expected(
                new, Expected(wanted, tolerance), batch.statistics_dtype, name
            )

    @strategies.examples(4)
    @hypothesis.given(strategies.batches(), properties.options(), options())
    def test_eagerly(self, batch, plain, own):
        self.assert_training(batch, plain, own)

    @strategies.examples(0.3)
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes()),
        properties.options(),
        options(),
        st.sampled_from(("graph", "unknown_size", "xla")),
    )
    def test_in_other_modes(self, batch, plain, own, mode):
        self.assert_training(batch, plain, own, mode)


class InferenceTest(properties.PropertiesTestCase):
    @strategies.examples(0.5)
    @hypothesis.given(
        strategies.batches(masks=False),
        properties.options(),
        options(),
        st.sampled_from(("inference", "frozen")),
    )
    def test_inference(self, batch, plain, own, kind):
        layer = properties.make(tfbn.LpBatchNorm, batch, **plain, **own)
        scale = strategies.wide(layer.moving_norm) + layer.epsilon
        self.assert_inference(layer, batch, kind, scale)


if __name__ == "__main__":
    tf.test.main()
