"""Property tests of BatchRenorm: training calls in a row against wider numbers.

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


def bounds(smallest):
    """A number, or the arguments of a LinearRamp."""
    values = st.floats(smallest, smallest + 10.0, width=32)
    ramps = st.tuples(values, values, st.integers(0, 2), st.integers(3, 5))
    return (
        values
        | st.just(float("inf"))
        | ramps.map(lambda ramp: tfbn.schedules.LinearRamp(*ramp))
    )


def options():
    return st.fixed_dictionaries(
        {"rmax": bounds(1.0), "dmax": bounds(0.0)},
        optional={"renorm_momentum": strategies.momenta()},
    )


def value_at(bound, step):
    """Of `bounds`, by the definition of a ramp."""
    if isinstance(bound, float):
        return bound
    progress = (step - bound.begin_step) / (bound.end_step - bound.begin_step)
    progress = min(max(progress, 0.0), 1.0)
    return bound.initial_value * (1.0 - progress) + bound.final_value * progress


class TrainingTest(properties.PropertiesTestCase):
    def assert_call(self, layer, batch, step, mode="eager"):
        """A training call, from the averages that the calls before have left."""
        before = testing_utils.state(layer)
        self.assertEqual(before["step"], step)
        exact = exact_training.ExactTraining(
            batch, layer.epsilon, *exact_training.affine(layer)
        )
        kind = "renorm" if "renorm_mean" in before else "moving"
        mean, stddev = (
            before[f"{kind}_{name}"].astype("longdouble") for name in ("mean", "stddev")
        )
        stddev = np.maximum(stddev, np.sqrt(layer.epsilon))
        # As the layer has them, for ramps are float32 and the batch may be wider.
        bounds = [float(bound) for bound in layer.bounds()]
        expected = [value_at(bound, step) for bound in (layer.rmax, layer.dmax)]
        self.assertAllClose(bounds, expected, rtol=4e-7, atol=0.0)
        rmax, dmax = map(np.longdouble, bounds)
        exact.correct(mean, stddev, rmax, dmax)
        y, gradients = exact_training.train(layer, batch, mode)
        self.assert_output(y, gradients, batch, layer, exact)
        self.assert_averages(layer, before, batch, exact, kind)
        self.assertEqual(int(layer.step), step + 1)

    def assert_averages(self, layer, before, batch, exact, kind):
        for name, statistic in (("mean", "mean"), ("stddev", "sigma")):
            self.assert_average(
                layer, before, f"moving_{name}", statistic, batch, exact
            )
            if kind == "renorm":
                momentum = layer.renorm_momentum
                self.assert_average(
                    layer, before, f"renorm_{name}", statistic, batch, exact, momentum
                )
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

    @strategies.examples(3)
    @hypothesis.given(strategies.batches(), properties.options(), options())
    def test_one_call(self, batch, plain, own):
        layer = properties.make(tfbn.BatchRenorm, batch, **plain, **own)
        self.assert_call(layer, batch, 0)

    @hypothesis.given(
        strategies.batches(masks=False), properties.options(), options(), st.data()
    )
    def test_calls_in_a_row(self, batch, plain, own, data):
        layer = properties.make(tfbn.BatchRenorm, batch, **plain, **own)
        # Averages that are near the data, so that d is not always at its bound.
        layer.moving_mean.assign(batch.offsets)
        for step in range(data.draw(st.integers(2, 6))):
            following = dataclasses.replace(batch, seed=batch.seed + 10 * step)
            self.call = f" in call {step}"
            self.assert_call(layer, following, step)

    @strategies.examples(0.2)
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes()),
        properties.options(),
        options(),
        st.sampled_from(("graph", "unknown_size", "xla")),
    )
    def test_in_other_modes(self, batch, plain, own, mode):
        layer = properties.make(tfbn.BatchRenorm, batch, **plain, **own)
        self.assert_call(layer, batch, 0, mode)

    @hypothesis.given(strategies.batches(), properties.options())
    def test_without_a_correction_it_is_batch_norm(self, batch, plain):
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


class BoundsTest(tf.test.TestCase):
    @hypothesis.given(options(), st.integers(0, 8))
    def test_follow_the_number_of_training_calls(self, own, calls):
        layer = tfbn.BatchRenorm(**own)
        x = tf.ones((2, 1))
        layer.build(x.shape)
        for _ in range(calls):
            layer(x, training=True)
            layer(x)
        for bound, value in zip((layer.rmax, layer.dmax), layer.bounds(), strict=True):
            self.assertAllClose(value, value_at(bound, calls), rtol=4e-7, atol=0.0)


class InferenceTest(properties.PropertiesTestCase):
    @strategies.examples(0.5)
    @hypothesis.given(
        strategies.batches(masks=False),
        properties.options(),
        options(),
        st.sampled_from(("inference", "frozen")),
    )
    def test_inference(self, batch, plain, own, kind):
        layer = properties.make(tfbn.BatchRenorm, batch, **plain, **own)
        scale = np.sqrt(strategies.wide(layer.moving_variance) + layer.epsilon)
        self.assert_inference(layer, batch, kind, scale)


if __name__ == "__main__":
    tf.test.main()
