"""What the property tests of the layers share."""

import hypothesis
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import tfbn
from tests import strategies
from tests import testing_utils
from tests.layers import exact_training


def options():
    """Arguments of all layers that concern the numbers."""
    return st.fixed_dictionaries(
        {
            "momentum": strategies.momenta(),
            "epsilon": strategies.epsilons(),
            "center": st.booleans(),
            "scale": st.booleans(),
        }
    )


def bounds(smallest):
    """A number, or a LinearRamp over some of the first calls."""
    values = st.floats(smallest, smallest + 10.0, width=32)
    ramps = st.tuples(values, values, st.integers(0, 2), st.integers(3, 5))
    return (
        values
        | st.just(float("inf"))
        | ramps.map(lambda ramp: tfbn.schedules.LinearRamp(*ramp))
    )


# By layer, the options of its own.
OWN = {
    tfbn.BatchNorm: st.just({}),
    tfbn.BatchRenorm: st.fixed_dictionaries(
        {"rmax": bounds(1.0), "dmax": bounds(0.0)},
        optional={"renorm_momentum": strategies.momenta()},
    ),
    tfbn.LpBatchNorm: st.fixed_dictionaries(
        {
            "order": st.sampled_from((1, 2, "inf")),
            "centered": st.booleans(),
            "literal": st.booleans(),
        }
    ),
}


def make(layer_class, batch, **options):
    """A built layer for a batch, with random weights."""
    layer = layer_class(
        axis=batch.axis,
        dtype=batch.dtype,
        virtual_batch_size=batch.virtual_batch_size,
        **options,
    )
    layer.build(batch.shape)
    exact_training.set_weights(layer, np.random.default_rng(batch.seed))
    return layer


def assert_same(actual, expected):
    """Bit for bit, NaN included, whatever the dtype."""
    if tf.as_dtype(actual.dtype) != tf.as_dtype(expected.dtype):
        raise AssertionError(f"Types differ: {actual.dtype}, {expected.dtype}")
    np.testing.assert_array_equal(strategies.wide(actual), strategies.wide(expected))


class PropertiesTestCase(tf.test.TestCase, parameterized.TestCase):
    call = ""  # which of several calls in an example is tested

    def assert_expected(self, actual, expected, dtype, name):
        excess = expected.excess(actual, dtype)
        # Hypothesis looks for examples with larger errors. It takes a name once.
        hypothesis.target(min(excess, 1e9), label=f"{name}{self.call}")
        self.assertLessEqual(excess, 1.0, name)

    def assert_same(self, one, two, expected, batch, name, chosen):
        """Two results that may each be off by the tolerance of `expected`."""
        one, two = (batch.rows(t)[chosen] for t in (one, two))
        expected = expected.chosen(chosen).around(two)
        self.assert_expected(one, expected, batch.dtype, name)

    def assert_output(self, y, gradients, batch, layer, exact):
        """Of a training call. What is poisoned gives no output, but has a gradient."""
        self.assertEqual(y.dtype, batch.dtype)
        chosen = batch.rows(batch.kept) > 0 if batch.poisoned else np.s_[:]
        actual = batch.rows(y)[chosen]
        self.assert_expected(actual, exact.output().chosen(chosen), batch.dtype, "y")
        expected = exact.gradients(batch.rows(batch.upstream))
        self.assert_gradients(gradients, expected, batch, layer, exact.smooth())

    def assert_gradients(self, gradients, expected, batch, layer, smooth=np.s_[:]):
        dx, *rest = gradients
        wanted, dgamma, dbeta = expected
        dx = batch.rows(dx)[smooth]
        self.assert_expected(dx, wanted.chosen(smooth), batch.dtype, "dx")
        wanted = {"dgamma": dgamma} if layer.scale else {}
        wanted.update({"dbeta": dbeta} if layer.center else {})
        for actual, (name, expected) in zip(rest, wanted.items(), strict=True):
            self.assert_expected(actual, expected, batch.statistics_dtype, name)

    def assert_average(
        self, layer, before, name, statistic, batch, exact, momentum=None
    ):
        momentum = layer.momentum if momentum is None else momentum
        old = before[name].astype("longdouble")
        self.assert_expected(
            getattr(layer, name),
            exact.average(old, momentum, statistic),
            batch.statistics_dtype,
            name,
        )

    def assert_inference(self, layer, batch, kind, scale):
        """`kind` is "inference" or "frozen": a training call that trains nothing."""
        before = testing_utils.state(layer)
        weights = list(layer.trainable_weights)
        mean = layer.moving_mean.numpy().astype("longdouble")
        y, gradients = exact_training.exact_inference(batch, layer, mean, scale)
        layer.trainable = kind == "inference"
        x, upstream = (tf.cast(a, batch.dtype) for a in (batch.x, batch.upstream))
        with tf.GradientTape() as tape:
            tape.watch(x)
            variables = [weight.value for weight in weights]
            tape.watch(variables)
            actual = layer(x, training=kind == "frozen")
        rows = batch.rows(actual)
        self.assert_expected(rows, y, batch.dtype, "y")
        found = tape.gradient(actual, [x, *variables], upstream)
        self.assert_gradients(found, gradients, batch, layer)
        testing_utils.assert_same_state(testing_utils.state(layer), before)

    def filled(self, exact):
        """Which elements are of a virtual batch that is not empty, `[elements, 1]`."""
        groups = exact.reference.groups
        size = len(groups[0].x)
        return np.repeat([group.count > 0 for group in groups], size)[:, np.newaxis]

    def rounding(self, value, dtype):
        """The error of `value` in a half precision."""
        if tf.as_dtype(dtype).size >= 4:
            return 0.0
        smallest = exact_training.SMALLEST.get(dtype, 0.0)
        return exact_training.HALF_UNITS[dtype] * np.abs(value) + smallest
