"""Property tests of training calls and inference, against wider numbers.

Any shape, axis, dtype, data, mask and virtual batches. For the tolerances see
tests/layers/exact_training.py.
"""

import dataclasses

import hypothesis
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import tfbn
from tests import strategies
from tests import testing_utils
from tests.layers import exact_training
from tests.layers import properties

each_class = parameterized.named_parameters((c.__name__, c) for c in properties.OWN)

# By weight, the statistic that it averages.
AVERAGES = {
    "moving_mean": "mean",
    "moving_variance": "variance",
    "moving_norm": "norm",
    "moving_stddev": "sigma",
    "renorm_mean": "mean",
    "renorm_stddev": "sigma",
}


class TrainingTest(properties.PropertiesTestCase):
    def assert_training(self, layer, batch, mode="eager"):
        """A training call, from the averages that the calls before have left."""
        before = testing_utils.state(layer)
        exact = exact_training.expected_training(batch, layer)
        y, gradients = exact_training.train(layer, batch, mode)
        self.assert_output(y, gradients, batch, layer, exact)
        for name in before:
            statistic = AVERAGES.get(name)
            if name == "moving_variance" and "step" in before:
                self.assert_variance_of_stddev(layer, before, batch, exact)
            elif statistic:
                momentum = layer.momentum
                if name.startswith("renorm"):
                    momentum = layer.renorm_momentum
                self.assert_average(
                    layer, before, name, statistic, batch, exact, momentum
                )
        if "step" in before:
            self.assertEqual(int(layer.step), before["step"] + 1)

    def assert_variance_of_stddev(self, layer, before, batch, exact):
        if not exact.valid:
            self.assertAllEqual(layer.moving_variance, before["moving_variance"])
            return
        square = np.square(strategies.wide(layer.moving_stddev))
        variance = exact_training.Expected(
            np.maximum(square - layer.epsilon, 0.0),
            exact_training.ULPS * exact.unit * (square + layer.epsilon),
        )
        dtype = batch.statistics_dtype
        self.assert_expected(layer.moving_variance, variance, dtype, "moving_variance")

    def draw_layer(self, layer_class, batch, plain, data):
        own = data.draw(properties.OWN[layer_class])
        layer = properties.make(layer_class, batch, **plain, **own)
        if data.draw(st.booleans()):
            # Averages near the data, so that d is not always at its bound.
            layer.moving_mean.assign(batch.offsets)
        return layer

    @each_class
    @strategies.examples(3)
    @hypothesis.given(strategies.batches(), properties.options(), st.data())
    def test_eagerly(self, layer_class, batch, plain, data):
        layer = self.draw_layer(layer_class, batch, plain, data)
        self.assert_training(layer, batch)

    @each_class
    @strategies.examples(0.4)
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes()),
        properties.options(),
        st.data(),
    )
    def test_of_unknown_size(self, layer_class, batch, plain, data):
        layer = self.draw_layer(layer_class, batch, plain, data)
        self.assert_training(layer, batch, "unknown_size")

    @each_class
    @strategies.examples(0.15)
    @hypothesis.given(strategies.batches(), properties.options(), st.data())
    def test_compiled(self, layer_class, batch, plain, data):
        layer = self.draw_layer(layer_class, batch, plain, data)
        self.assert_training(layer, batch, "xla")

    @parameterized.named_parameters(
        (c.__name__, c) for c in (tfbn.BatchNorm, tfbn.BatchRenorm)
    )
    @strategies.examples(0.4)
    @hypothesis.given(
        strategies.batches(
            masks=False, virtual=False, shape_axis=strategies.long_shapes()
        ),
        properties.options(),
        st.data(),
    )
    def test_of_many_elements(self, layer_class, batch, plain, data):
        layer = self.draw_layer(layer_class, batch, plain, data)
        self.assert_training(layer, batch)

    @strategies.examples(0.5)
    @hypothesis.given(strategies.batches(masks=False), properties.options(), st.data())
    def test_renorm_in_a_row(self, batch, plain, data):
        layer = self.draw_layer(tfbn.BatchRenorm, batch, plain, data)
        for step in range(data.draw(st.integers(2, 6))):
            following = dataclasses.replace(batch, seed=batch.seed + 10 * step)
            self.call = f" in call {step}"
            for bound, value in zip(
                (layer.rmax, layer.dmax), layer.bounds(), strict=True
            ):
                self.assertAllClose(value, _value_at(bound, step), rtol=4e-7, atol=0.0)
            self.assert_training(layer, following)

    @each_class
    @strategies.examples(0.6)
    @hypothesis.given(
        strategies.batches(masks=False),
        properties.options(),
        st.data(),
        st.sampled_from(("inference", "frozen")),
    )
    def test_inference(self, layer_class, batch, plain, data, kind):
        layer = self.draw_layer(layer_class, batch, plain, data)
        if layer_class is tfbn.LpBatchNorm:
            scale = strategies.wide(layer.moving_norm) + layer.epsilon
        else:
            scale = np.sqrt(strategies.wide(layer.moving_variance) + layer.epsilon)
        self.assert_inference(layer, batch, kind, scale)


def _value_at(bound, step):
    """Of a number or a ramp, by the definition."""
    if isinstance(bound, float):
        return bound
    progress = (step - bound.begin_step) / (bound.end_step - bound.begin_step)
    progress = min(max(progress, 0.0), 1.0)
    return bound.initial_value * (1.0 - progress) + bound.final_value * progress


class UnusableBatchesTest(tf.test.TestCase, parameterized.TestCase):
    @each_class
    @hypothesis.given(
        strategies.batches(),
        properties.options(),
        st.data(),
        st.sampled_from((np.nan, np.inf, -np.inf)),
    )
    def test_a_non_finite_element_leaves_the_averages(
        self, layer_class, batch, plain, data, value
    ):
        """Every bit of them, and in each channel."""
        hypothesis.assume(np.any(batch.kept))
        own = data.draw(properties.OWN[layer_class])
        layer = properties.make(layer_class, batch, **plain, **own)
        x = batch.x.copy()
        used = np.argwhere(batch.kept)
        x[tuple(used[np.random.default_rng(batch.seed).integers(len(used))])] = value
        before = _averages(layer)
        exact_training.train_on(layer, x, batch.upstream, batch.mask)
        testing_utils.assert_same_state(_averages(layer), before)


def _averages(layer):
    """The state without what counts calls."""
    state = testing_utils.state(layer)
    return {k: v for k, v in state.items() if v.dtype.kind == "f"}


class InvarianceTest(properties.PropertiesTestCase):
    """Two calls of one layer, each off by a tolerance at most."""

    @strategies.examples(0.6)
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
            results.append((y, dx))
        (y, dx), permuted = results
        exact = exact_training.ExactTraining(batch, layer)
        tolerances = exact.output(), exact.gradients(batch.rows(batch.upstream))[0]
        kept = batch.rows(batch.kept) > 0
        for name, one, two, expected in zip(
            ("y", "dx"), (y, dx), permuted, tolerances, strict=True
        ):
            back = tf.gather(two, np.argsort(order))
            self.assert_same(one, back, expected, batch, name, kept)

    @strategies.examples(0.6)
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

    @strategies.examples(0.6)
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
        exact = exact_training.ExactTraining(shifted, layer)
        if not exact.valid:
            return  # nothing is subtracted
        (y, (dx, *_)), (shifted_y, (shifted_dx, *_)) = results
        gradient = exact.gradients(batch.rows(batch.upstream))[0]
        filled = (batch.rows(batch.kept) > 0) & self.filled(exact)
        self.assert_same(y, shifted_y, exact.output(), batch, "y", filled)
        self.assert_same(dx, shifted_dx, gradient, batch, "dx", filled)

    @strategies.examples(0.6)
    @hypothesis.given(strategies.batches(), properties.options())
    def test_renorm_without_a_correction_is_batch_norm(self, batch, plain):
        """Bit for bit."""
        one = properties.make(tfbn.BatchNorm, batch, **plain)
        two = properties.make(tfbn.BatchRenorm, batch, rmax=1.0, dmax=0.0, **plain)
        for weight, other in zip(
            two.trainable_weights, one.trainable_weights, strict=True
        ):
            weight.assign(other)
        two.moving_mean.assign(one.moving_mean)
        (y, gradients), (z, others) = (
            exact_training.train(layer, batch) for layer in (one, two)
        )
        for a, b in zip((y, *gradients), (z, *others), strict=True):
            properties.assert_same(a, b)
        self.assertAllEqual(one.moving_mean, two.moving_mean)


if __name__ == "__main__":
    tf.test.main()
