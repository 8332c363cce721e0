"""Tests of BatchRenorm: by hand, against Keras's renorm and tf_keras's, schedules.

Its numbers against float64 references have conformance_test.py and
training_properties_test.py.
"""

import os

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float32 against float64: the exactness that tfbn promises.
EXACT = 2e-6
# Against other float32 layers over 200 steps; max|a - b| / max|b| of each array.
KERAS = 1e-5

EPSILON = 1e-3
CLIPPING = {"rmax": 1.4, "rmin": 1.0 / 1.4, "dmax": 0.3}
# Names of the weights of Keras's layer, in its order.
KERAS_WEIGHTS = (
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
    "moving_stddev",
    "renorm_mean",
    "renorm_stddev",
)


class ByHandTest(tf.test.TestCase, parameterized.TestCase):
    """Batches of two numbers, mean +- s: sigma_B^2 = s^2 + 0.19, with s = 0.9 for 1.

    The averages stay as they are (momentum 1): mu = 2, sigma = 1.
    """

    def test_inference_is_the_papers(self):
        """gamma (x - mu) / sigma + beta, with the moving *stddev*, no further eps."""
        rng = np.random.default_rng(1)
        layer = tfbn.BatchRenorm(momentum=0.5, epsilon=0.1)
        for _ in range(3):
            layer(testing_utils.random_batch(rng, (9, 3)), training=True)
        x = testing_utils.random_batch(rng, (9, 3))
        expected = (x.astype("float64") - layer.moving_mean) / layer.moving_stddev
        self.assertLess(testing_utils.relative_error(layer(x), expected), EXACT)

    def test_the_floor_of_the_moving_deviation(self):
        """It is sqrt(epsilon) = 0.1, whatever the average: r is 1 / 0.1, unclipped."""
        layer = tfbn.BatchRenorm(epsilon=0.01, rmax=float("inf"), dmax=float("inf"))
        layer.build((2, 1))
        layer.moving_stddev.assign([0.001])
        spread = np.sqrt(1.0 - 0.01)  # sigma_B = 1
        y = layer(tf.constant([[spread], [-spread]], "float32"), training=True)
        self.assertAllClose(y, [[10.0 * spread], [-10.0 * spread]], rtol=EXACT)

    def test_the_first_deviation_is_the_root_of_the_first_variance(self):
        for momentum in (None, 0.5):
            layer = tfbn.BatchRenorm(
                renorm_momentum=momentum,
                moving_variance_initializer=keras.initializers.Constant(4.0),
            )
            layer.build((2, 1))
            self.assertAllEqual(layer.moving_stddev, [2.0])
            self.assertAllEqual(layer.renorm_stddev, [2.0])

    def test_r_and_d_come_from_the_averages_before_the_update(self):
        layer = tfbn.BatchRenorm(
            momentum=0.5, epsilon=0.19, rmax=float("inf"), dmax=float("inf")
        )
        # mean 4, sigma_B 1, from mu = 0, sigma = 1: d is 4, and 2 after the update.
        y = layer(tf.constant([[4.9], [3.1]]), training=True)
        self.assertAllClose(y, [[4.9], [3.1]], rtol=EXACT)
        self.assertAllClose(layer.moving_mean, [2.0], rtol=EXACT)

    def test_the_average_is_of_the_stddev_with_epsilon(self):
        layer = tfbn.BatchRenorm(momentum=0.5, epsilon=0.19)
        layer(tf.constant([[0.9], [-0.9]]), training=True)  # sigma_B = 1
        self.assertAllClose(layer.moving_stddev, [1.0], rtol=EXACT)
        spread = np.sqrt(9.0 - 0.19)  # sigma_B = 3
        layer(tf.constant([[spread], [-spread]], "float32"), training=True)
        self.assertAllClose(layer.moving_stddev, [2.0], rtol=EXACT)
        self.assertAllClose(layer.moving_variance, [3.81], rtol=EXACT)

    def test_the_correction_of_given_statistics(self):
        """By the averages that training uses; rmax and dmax of the next call are 2."""
        layer = tfbn.BatchRenorm(
            epsilon=0.01,
            rmax=tfbn.schedules.LinearRamp(1.0, 3.0, 0, 2),
            dmax=tfbn.schedules.LinearRamp(0.0, 4.0, 0, 2),
            renorm_momentum=0.5,
        )
        layer.build((2, 3))
        layer.step.assign(1)
        layer.renorm_mean.assign([1.0, 1.0, 0.0])
        layer.renorm_stddev.assign([0.5, 0.5, 0.01])  # the third one is below 0.1
        numbers = [1.5, 3.0, 0.0], [0.0] * 3, [0.0] * 3, [0.75, 5.0, 0.15]
        statistics = tfbn.ops.Statistics(*map(tf.constant, numbers), tf.constant(True))
        r, d = layer.renorm_correction(statistics)
        self.assertAllClose(r, [1.5, 2.0, 1.5], rtol=EXACT)
        self.assertAllClose(d, [1.0, 2.0, 0.0], rtol=EXACT)

    def test_gradients_do_not_flow_through_r_and_d(self):
        """With r and d free, y is x: its gradient would be all of upstream."""
        layer = tfbn.BatchRenorm(rmax=float("inf"), dmax=float("inf"))
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 3))
        y, (dx, *_) = testing_utils.train_call(layer, x, np.ones_like(x))
        self.assertAllClose(y, x, rtol=EXACT, atol=EXACT)
        self.assertAllClose(dx, np.zeros_like(x), atol=EXACT)


def renorm_layers(clipping, momentum, renorm_momentum):
    """`(ours, keras's, tf_keras's)` with the same options, built and in one state."""
    options = {"momentum": momentum, "epsilon": EPSILON}
    theirs = {
        **options,
        "renorm": True,
        "renorm_clipping": clipping,
        "renorm_momentum": renorm_momentum,
    }
    ours = tfbn.BatchRenorm(
        **options,
        rmax=(clipping or {}).get("rmax", float("inf")),
        dmax=(clipping or {}).get("dmax", float("inf")),
        renorm_momentum=renorm_momentum,
    )
    layers = (
        ours,
        keras.layers.BatchNormalization(**theirs),
        tf_keras.layers.BatchNormalization(**theirs),
    )
    for layer in layers:
        layer.build((None, 4))
    gamma, beta = np.random.default_rng(3).uniform(0.5, 2.0, size=(2, 4))
    for layer in layers:
        layer.gamma.assign(gamma.astype("float32"))
        layer.beta.assign(beta.astype("float32"))
    return layers


def tf_keras_trainer(layer):
    @tf.function
    def call(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(upstream * y)
        return y, tape.gradient(loss, [x, layer.gamma, layer.beta])

    return call


class AgainstKerasTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("slow", CLIPPING, 0.99, 0.99),
        ("unclipped", None, 0.9, 0.9),
        ("two_sets", CLIPPING, 0.9, 0.7),
    )
    def test_200_steps_of_shifting_data(self, clipping, momentum, renorm_momentum):
        layers = renorm_layers(clipping, momentum, renorm_momentum)
        ours, *theirs = layers
        calls = [testing_utils.trainer(layer) for layer in layers[:2]]
        calls.append(tf_keras_trainer(layers[2]))
        rng = np.random.default_rng(0)
        for step in range(200):
            x = testing_utils.random_batch(rng, (8, 4))
            x = x * (1.0 + 0.5 * np.sin(0.1 * step)) + 0.02 * step
            upstream = rng.normal(size=x.shape)
            args = [tf.constant(a, "float32") for a in (x, upstream)]
            result, *others = (tf.nest.flatten(call(*args)) for call in calls)
            if step % 10:
                continue
            for other in others:
                self.assert_close(result, other)
            for layer in theirs:
                self.assert_close(*zip(*self.averages(ours, layer), strict=True))
        for layer in theirs:
            self.assert_close([ours(args[0])], [layer(args[0])])

    def assert_close(self, ours, theirs):
        for a, b in zip(ours, theirs, strict=True):
            self.assertLess(testing_utils.relative_error(a, b), KERAS)

    def averages(self, ours, theirs):
        for name in KERAS_WEIGHTS[2:]:
            yield getattr(ours, name), getattr(theirs, name)

    def test_the_order_of_the_weights(self):
        ours, theirs, _ = renorm_layers(CLIPPING, 0.9, 0.7)
        self.assertEqual([w.name for w in theirs.weights], list(KERAS_WEIGHTS))
        self.assertEqual([w.name for w in ours.weights], [*KERAS_WEIGHTS, "step"])

    def test_is_a_batch_normalization(self):
        self.assertIsInstance(tfbn.BatchRenorm(), keras.layers.BatchNormalization)
        self.assertIsInstance(tfbn.BatchRenorm(), tfbn.BatchNorm)


class _Model(keras.Model):
    """A weight file knows a layer by the attribute that holds it, if that comes before
    "layers" in the alphabet; otherwise, and in a functional model, by its class.
    """

    def __init__(self, norm):
        super().__init__()
        self.bn = norm

    def call(self, inputs, training=None):
        return self.bn(inputs, training=training)


class WeightsOfOthersTest(tf.test.TestCase, parameterized.TestCase):
    def trained(self, renorm_momentum=0.9, momentum=0.9, **options):
        """Keras's layer after some training."""
        layer = keras.layers.BatchNormalization(
            momentum=momentum, renorm_momentum=renorm_momentum, **options
        )
        rng = np.random.default_rng(0)
        for _ in range(3):
            layer(testing_utils.random_batch(rng, (8, 4)), training=True)
        return layer

    def transfer(self, theirs, ours, way):
        if way == "set_weights":
            if not ours.built:
                ours.build((None, 4))
            ours.set_weights(theirs.get_weights())
            return
        path = os.path.join(self.get_temp_dir(), "model.weights.h5")
        models = [_Model(layer) for layer in (theirs, ours)]
        for model in models:
            model(np.zeros((1, 4), "float32"))
        models[0].save_weights(path)
        models[1].load_weights(path)

    def assert_same_inference(self, ours, theirs):
        x = testing_utils.random_batch(np.random.default_rng(1), (8, 4))
        self.assertLess(testing_utils.relative_error(ours(x), theirs(x)), KERAS)

    @parameterized.parameters(
        ("set_weights", 0.9, False),
        ("set_weights", 0.7, True),
        ("file", 0.9, True),
        ("file", 0.7, False),
    )
    def test_of_keras_renorm(self, way, renorm_momentum, scale):
        theirs = self.trained(renorm_momentum, renorm=True, scale=scale)
        ours = tfbn.BatchRenorm(
            momentum=0.9, renorm_momentum=renorm_momentum, scale=scale
        )
        self.transfer(theirs, ours, way)
        for name in KERAS_WEIGHTS[0 if scale else 1 :]:
            value = getattr(ours, name), getattr(theirs, name)
            self.assertAllEqual(*value, name)
        self.assert_same_inference(ours, theirs)

    @parameterized.product(way=("set_weights", "file"), renorm_momentum=(None, 0.7))
    def test_of_plain_batch_norm(self, way, renorm_momentum):
        theirs = self.trained()
        ours = tfbn.BatchRenorm(renorm_momentum=renorm_momentum)
        self.transfer(theirs, ours, way)
        stddev = np.sqrt(theirs.moving_variance.numpy() + EPSILON)
        for prefix in ("moving", "renorm"):
            mean = getattr(ours, f"{prefix}_mean")
            self.assertAllEqual(mean, theirs.moving_mean)
            self.assertAllClose(getattr(ours, f"{prefix}_stddev"), stddev, rtol=EXACT)
        self.assertAllEqual(ours.moving_variance, theirs.moving_variance)
        self.assert_same_inference(ours, theirs)

    @parameterized.parameters("set_weights", "file")
    def test_step_stays(self, way):
        ours = tfbn.BatchRenorm()
        ours.build((None, 4))
        ours.step.assign(7)
        self.transfer(self.trained(renorm=True), ours, way)
        self.assertEqual(int(ours.step), 7)

    @parameterized.parameters(None, 0.7)
    def test_its_own(self, renorm_momentum):
        layers = [tfbn.BatchRenorm(renorm_momentum=renorm_momentum) for _ in range(2)]
        for i, layer in enumerate(layers):
            layer.build((None, 4))
            testing_utils.set_random_state(layer, np.random.default_rng(i))
            layer.step.assign(10 * i)
        layers[0].set_weights(layers[1].get_weights())
        testing_utils.assert_same_state(*map(testing_utils.state, layers))

    @parameterized.parameters("set_weights", "file")
    def test_two_sets_do_not_fit_into_one(self, way):
        theirs = self.trained(0.7, renorm=True)
        ours = tfbn.BatchRenorm(momentum=0.9, name="narrow")
        # Of a file, Keras may report its own later attempt to load it instead.
        message = "narrow" if way == "file" else "narrow.*renorm_momentum"
        with self.assertRaisesRegex(ValueError, message):
            self.transfer(theirs, ours, way)

    def test_a_wrong_number_of_weights(self):
        layer = tfbn.BatchRenorm()
        layer.build((None, 4))
        with self.assertRaisesRegex(ValueError, "3"):
            layer.set_weights([np.ones(4, "float32")] * 3)


class IdentitiesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.01, 1e-7)
    def test_settled_training_and_inference_agree(self, epsilon):
        layer = tfbn.BatchRenorm(momentum=0.5, epsilon=epsilon, rmax=3.0, dmax=5.0)
        x = tf.constant(testing_utils.random_batch(np.random.default_rng(0), (8, 3)))
        step = tf.function(lambda: layer(x, training=True))
        for _ in range(40):
            y = step()
        self.assertLess(testing_utils.relative_error(layer(x), y), 2 * EXACT)


RAMP = {
    "rmax": tfbn.schedules.LinearRamp(1.0, 3.0, 1, 5),
    "dmax": tfbn.schedules.LinearRamp(0.0, 5.0, 2, 4),
}
RAMP_BOUNDS = (
    (1.0, 0.0),
    (1.0, 0.0),
    (1.5, 0.0),
    (2.0, 2.5),
    (2.5, 5.0),
    (3.0, 5.0),
    (3.0, 5.0),
)
KERAS_SCHEDULES = {
    "rmax": keras.optimizers.schedules.PolynomialDecay(1.0, 4, 3.0),
    "dmax": keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.0, 1.0, 4.0]),
}
KERAS_BOUNDS = ((1.0, 0.0), (1.5, 0.0), (2.0, 1.0), (2.5, 1.0), (3.0, 4.0), (3.0, 4.0))


def step_under_bounds(layer):
    """A training call that shows the bounds in force: `call() -> (rmax, dmax)` twice.

    The averages stay at mean 0 and stddev 1 (build with momentum 1). The first channel
    is 100 +- 10, beyond the upper bounds: its output is dmax +- rmax. The second is
    -100 +- 0.01, beyond the lower ones: -dmax +- 1 / rmax.
    """
    x = tf.constant([[110.0, -99.99], [90.0, -100.01]], "float64")

    def call():
        y = layer(x, training=True)
        middle, spread = (y[0] + y[1]) / 2.0, (y[0] - y[1]) / 2.0
        return (spread[0], middle[0]), (1.0 / spread[1], -middle[1])

    return call


def fixed_average_layer(**bounds):
    """In float64 and with a tiny epsilon, so that nothing blurs the bounds."""
    return tfbn.BatchRenorm(momentum=1.0, epsilon=1e-16, dtype="float64", **bounds)


class ScheduleTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        *((mode, RAMP, RAMP_BOUNDS) for mode in testing_utils.MODES),
        ("xla", KERAS_SCHEDULES, KERAS_BOUNDS),
    )
    def test_the_bounds_move_in_one_trace(self, mode, bounds, expected):
        layer = fixed_average_layer(**bounds)
        layer.build((2, 2))
        call, traces = step_under_bounds(layer), []
        if mode != "eager":
            call, traces = testing_utils.count_traces(call, jit_compile=mode == "xla")
        for step, wanted in enumerate(expected):
            self.assertEqual(int(layer.step), step)
            self.assertAllClose(layer.bounds(), wanted, rtol=1e-6)
            for received in call():
                self.assertAllClose(received, wanted, rtol=1e-6, atol=1e-6)
        self.assertLessEqual(len(traces), 1)

    def test_the_default_is_the_papers(self):
        layer = tfbn.BatchRenorm()
        for step in (0, 5_000, 15_000, 40_000, 10**6):
            wanted = [float(s(step)) for s in tfbn.schedules.ioffe_2017()]
            self.assertAllEqual([float(b) for b in layer.bounds(step)], wanted)

    def test_bounds_that_sink_too_low_count_as_none(self):
        sinking = keras.optimizers.schedules.PolynomialDecay(0.5, 4, -3.0)
        layer = fixed_average_layer(rmax=sinking, dmax=sinking)
        call = step_under_bounds(layer)
        for _ in range(2):
            call()
        for received in call():  # at step 2: -1.25
            self.assertAllClose(received, (1.0, 0.0), atol=1e-6)

    @parameterized.parameters(2**24, 2**31, 2**40)
    def test_step_counts_on_beyond(self, start):
        """float32 stops at 2**24, int32 at 2**31."""
        layer = tfbn.BatchRenorm(
            rmax=tfbn.schedules.LinearRamp(1.0, 3.0, start, start + 4), dmax=0.0
        )
        x = tf.constant(testing_utils.random_batch(np.random.default_rng(0), (4, 2)))
        layer.build(x.shape)
        layer.step.assign(start)
        call = tf.function(lambda: layer(x, training=True))
        for i in range(1, 4):
            call()
            self.assertEqual(int(layer.step), start + i)
            self.assertAllClose(layer.bounds()[0], 1.0 + 0.5 * i)


class StepTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.layer = tfbn.BatchRenorm()
        self.x = testing_utils.random_batch(np.random.default_rng(0), (4, 3))
        self.layer.build(self.x.shape)

    def test_counts_training_calls(self):
        call = tf.function(lambda x: self.layer(x, training=True))
        for _ in range(2):
            self.layer(self.x, training=True)
            call(self.x)
        self.assertEqual(int(self.layer.step), 4)


if __name__ == "__main__":
    tf.test.main()
