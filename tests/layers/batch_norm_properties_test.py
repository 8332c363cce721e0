"""Property tests of BatchNorm: against wider numbers, and what holds for any data.

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


class TrainingTest(properties.PropertiesTestCase):
    def assert_training(self, batch, options, mode="eager"):
        layer = properties.make(tfbn.BatchNorm, batch, **options)
        before = testing_utils.state(layer)
        y, gradients = exact_training.train(layer, batch, mode)
        exact = exact_training.ExactTraining(
            batch, layer.epsilon, *exact_training.affine(layer)
        )
        self.assert_output(y, gradients, batch, layer, exact)
        for statistic in ("mean", "variance"):
            self.assert_average(
                layer, before, f"moving_{statistic}", statistic, batch, exact
            )

    @strategies.examples(5)
    @hypothesis.given(strategies.batches(), properties.options())
    def test_eagerly(self, batch, options):
        self.assert_training(batch, options)

    @strategies.examples(0.5)
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes()),
        properties.options(),
        st.sampled_from(("graph", "unknown_size")),
    )
    def test_in_a_graph(self, batch, options, mode):
        self.assert_training(batch, options, mode)

    @strategies.examples(0.2)
    @hypothesis.given(strategies.batches(), properties.options())
    def test_compiled(self, batch, options):
        self.assert_training(batch, options, "xla")

    @strategies.examples(0.5)
    @hypothesis.given(
        strategies.batches(
            masks=False, virtual=False, shape_axis=strategies.long_shapes()
        ),
        properties.options(),
    )
    def test_of_many_elements(self, batch, options):
        self.assert_training(batch, options)


class InferenceTest(properties.PropertiesTestCase):
    @hypothesis.given(
        strategies.batches(masks=False),
        properties.options(),
        st.sampled_from(("inference", "frozen")),
    )
    def test_inference(self, batch, options, kind):
        layer = properties.make(tfbn.BatchNorm, batch, **options)
        scale = np.sqrt(layer.moving_variance.numpy() + np.longdouble(layer.epsilon))
        self.assert_inference(layer, batch, kind, scale)


class InvarianceTest(properties.PropertiesTestCase):
    """Two calls of one layer, each off by a tolerance at most."""

    @hypothesis.given(
        strategies.batches(virtual=False, shape_axis=strategies.sample_shapes()),
        properties.options(),
    )
    def test_order_of_the_samples(self, batch, options):
        order = np.random.default_rng(batch.seed).permutation(batch.shape[0])
        results = []
        for chosen in (slice(None), order):
            layer = properties.make(tfbn.BatchNorm, batch, **options)
            y, (dx, *_) = exact_training.train_on(layer, *batch.samples(chosen))
            results.append((y, dx, layer))
        (y, dx, layer), (*permuted, other) = results
        exact = exact_training.ExactTraining(
            batch, layer.epsilon, *exact_training.affine(layer)
        )
        tolerances = exact.output(), exact.gradients(batch.rows(batch.upstream))[0]
        kept = batch.rows(batch.kept) > 0
        for name, one, two, expected in zip(
            ("y", "dx"), (y, dx), permuted, tolerances, strict=True
        ):
            back = tf.gather(two, np.argsort(order))
            self.assert_same(one, back, expected, batch, name, kept)
        old = np.zeros(batch.channels)
        for name in ("mean", "variance"):
            one, two = (getattr(r, f"moving_{name}") for r in (layer, other))
            expected = exact.average(old + 2.0, layer.momentum, name)
            dtype = batch.statistics_dtype
            self.assert_expected(one, expected.around(two), dtype, name)

    @hypothesis.given(
        strategies.batches(dtypes=("float32",)),
        st.integers(-20, 20),
    )
    def test_a_power_of_two_changes_nothing(self, batch, power):
        """Where epsilon goes along: not a bit, for all roundings stay the same."""
        factor = 2.0**power
        scaled = dataclasses.replace(
            batch,
            offsets=tuple(factor * offset for offset in batch.offsets),
            scales=tuple(factor * scale for scale in batch.scales),
        )
        results = []
        for data, epsilon in ((batch, 1e-3), (scaled, 1e-3 * factor**2)):
            layer = properties.make(tfbn.BatchNorm, data, epsilon=epsilon)
            y, (dx, *rest) = exact_training.train(layer, data)
            exponent = power if data is scaled else 0
            results.append((y, dx * 2.0**exponent, *rest))
        for one, two in zip(*results, strict=True):
            self.assertAllEqual(one, two)

    @hypothesis.given(
        strategies.batches(dtypes=("float32",)), st.integers(-(2**23), 2**23)
    )
    def test_a_shift_changes_nothing(self, batch, shift):
        """Of integers, which float32 adds exactly."""
        batch = dataclasses.replace(
            batch, kind="integers", offsets=(0,) * batch.channels, scales=(1,)
        )
        shifted = dataclasses.replace(batch, offsets=(shift,) * batch.channels)
        layer = properties.make(tfbn.BatchNorm, batch)
        results = [exact_training.train(layer, b) for b in (batch, shifted)]
        exact = exact_training.ExactTraining(
            shifted, layer.epsilon, *exact_training.affine(layer)
        )
        kept = batch.rows(batch.kept) > 0
        if not exact.valid:
            return  # nothing is subtracted
        (y, (dx, *_)), (shifted_y, (shifted_dx, *_)) = results
        gradient = exact.gradients(batch.rows(batch.upstream))[0]
        filled = kept & self.filled(exact)
        self.assert_same(y, shifted_y, exact.output(), batch, "y", filled)
        self.assert_same(dx, shifted_dx, gradient, batch, "dx", filled)

    @hypothesis.given(strategies.batches(masks=False, virtual=False))
    def test_the_gradient_is_along_neither_ones_nor_the_output(self, batch):
        """But for what epsilon leaves of the latter."""
        layer = properties.make(tfbn.BatchNorm, batch, scale=False, center=False)
        _, (dx,) = exact_training.train(layer, batch)
        exact = exact_training.ExactTraining(batch, layer.epsilon)
        upstream = batch.rows(batch.upstream)
        expected = exact.gradients(upstream)[0]
        tolerance = expected.tolerance + self.rounding(expected.value, batch.dtype)
        dx = batch.rows(dx)
        (group,) = exact.reference.groups
        along = np.sum(upstream * group.normalized, axis=0)
        along *= layer.epsilon / group.sigma**3
        for name, direction, left in (
            ("along ones", 1.0, 0.0),
            ("along the output", group.normalized, along),
        ):
            slack = np.sum(tolerance * np.abs(direction), axis=0)
            total = np.sum(dx * direction, axis=0)
            expected = exact_training.Expected(left, slack)
            self.assert_expected(total, expected, "float64", name)


class VirtualBatchesTest(properties.PropertiesTestCase):
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes()),
        properties.options(),
    )
    def test_each_is_as_if_alone(self, batch, options):
        layer = properties.make(tfbn.BatchNorm, batch, **options)
        y, (dx, *_) = exact_training.train(layer, batch)
        alone = dataclasses.replace(batch, groups=1)
        parts = [
            exact_training.train_on(
                properties.make(tfbn.BatchNorm, alone, **options),
                *batch.samples(chosen),
            )
            for chosen in np.split(np.arange(batch.shape[0]), batch.groups)
        ]
        exact = exact_training.ExactTraining(
            batch, layer.epsilon, *exact_training.affine(layer)
        )
        gradient = exact.gradients(batch.rows(batch.upstream))[0]
        kept = batch.rows(batch.kept) > 0
        joined = tf.concat([part[0] for part in parts], 0)
        self.assert_same(y, joined, exact.output(), batch, "y", kept)
        joined = tf.concat([part[1][0] for part in parts], 0)
        self.assert_same(dx, joined, gradient, batch, "dx", kept)


if __name__ == "__main__":
    tf.test.main()
