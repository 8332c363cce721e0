"""Tests of virtual batches: each group of samples alone, in every layer."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float32 against float64, or against float32 sums in another order: what tfbn promises.
EXACT = 2e-6

SILENT = {
    "mean_range": 0.0,
    "stddev_max": 1.0,
    "mean_jitter": 0.0,
    "stddev_jitter": 0.0,
}
LAYERS = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchRenorm": lambda **kw: tfbn.BatchRenorm(rmax=1.1, dmax=0.2, **kw),
    "BatchRenorm/two_sets": lambda **kw: tfbn.BatchRenorm(
        rmax=1.1, dmax=0.2, renorm_momentum=0.5, **kw
    ),
    "LpBatchNorm": tfbn.LpBatchNorm,
    "LpBatchNorm/2": lambda **kw: tfbn.LpBatchNorm(order=2, centered=True, **kw),
    "LpBatchNorm/inf": lambda **kw: tfbn.LpBatchNorm(order="inf", literal=True, **kw),
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(**SILENT, **kw),
}
SHAPES = (((6, 4), -1), ((6, 5, 4), -1), ((6, 4, 2, 2), 1))


def each(layers):
    return parameterized.named_parameters(*layers.items())


def make(name, shape, axis=-1, **options):
    layer = LAYERS[name](axis=axis, momentum=0.7, **options)
    layer.build(shape)
    testing_utils.set_random_state(layer, np.random.default_rng(1))
    return layer


def data(shape, axis=-1):
    """An input and a gradient of the output, float32."""
    rng = np.random.default_rng(0)
    x = testing_utils.random_batch(rng, shape, axis)
    return x, rng.normal(size=shape).astype("float32")


class VirtualBatchTestCase(tf.test.TestCase, parameterized.TestCase):
    def assert_close(self, actual, expected):
        for a, b in zip(actual, expected, strict=True):
            error = np.max(np.abs(np.subtract(a, b, dtype=np.float64)))
            self.assertLessEqual(error, EXACT * max(1.0, np.max(np.abs(b))))


class GroupsTest(VirtualBatchTestCase):
    """The same layer without virtual batches is called for each group."""

    @parameterized.product(name=tuple(LAYERS), shape_axis=SHAPES, masked=(False, True))
    def test_is_the_layer_called_for_each_group(self, name, shape_axis, masked):
        shape, axis = shape_axis
        if masked and len(shape) == 2:
            shape = (*shape[:1], 7, *shape[1:])
        mask = None
        if masked:
            # Of what leaves out the channels, the first axes.
            lengths = np.delete(shape, axis)[:2]
            mask = np.random.default_rng(2).uniform(size=lengths) < 0.6
            mask[::2] = True
        self.check(name, shape, axis, 2, mask)

    @parameterized.parameters(
        ("BatchNorm", "graph"),
        ("BatchNorm", "xla"),
        ("BatchRenorm", "xla"),
        ("LpBatchNorm", "xla"),
        ("NoisyBatchNorm", "graph"),
    )
    def test_in_a_graph(self, name, mode):
        self.check(name, (6, 5, 4), -1, 2, mode=mode)

    def check(self, name, shape, axis, size, mask=None, mode="eager"):
        layer = make(name, shape, axis, virtual_batch_size=size)
        x, upstream = data(shape, axis)
        y, gradients = testing_utils.train_call(layer, x, upstream, mask, mode)
        outputs, by_group, states = [], [], []
        for start in range(0, shape[0], size):
            group = slice(start, start + size)
            alone = make(name, shape, axis)
            result, parts = testing_utils.train_call(
                alone, x[group], upstream[group], None if mask is None else mask[group]
            )
            outputs.append(result)
            by_group.append(parts)
            states.append(testing_utils.state(alone))
        dx, *rest = zip(*by_group, strict=True)
        expected = [np.concatenate(dx), *(np.sum(g, axis=0) for g in rest)]
        self.assert_close([y, *gradients], [np.concatenate(outputs), *expected])
        # Updates are linear in the statistics: that with the mean is the mean of those.
        state = testing_utils.state(layer)
        expected = {n: np.mean([s[n] for s in states], axis=0) for n in state}
        if "moving_stddev" in state:
            variance = expected["moving_stddev"] ** 2 - layer.epsilon
            expected["moving_variance"] = variance
        self.assert_close(state.values(), expected.values())

    @each(LAYERS)
    def test_one_group_is_the_batch(self, layer):
        x, upstream = data((6, 5, 4))
        layers = layer(virtual_batch_size=6), layer()
        results = (testing_utils.train_call(i, x, upstream) for i in layers)
        self.assert_close(*map(tf.nest.flatten, results))
        self.assert_close(*(testing_utils.state(i).values() for i in layers))

    @each(LAYERS)
    def test_inference_knows_no_groups(self, layer):
        x, _ = data((7, 4))  # 3 does not divide it
        layers = layer(virtual_batch_size=3), layer()
        for i in layers:
            i.build(x.shape)
            testing_utils.set_random_state(i, np.random.default_rng(1))
        self.assertAllEqual(*(i(x) for i in layers))
        for i in layers:
            i.trainable = False
        self.assertAllEqual(*(i(x, training=True) for i in layers))


class AgainstNumPyTest(VirtualBatchTestCase):
    @parameterized.product(
        name=("BatchNorm", "NoisyBatchNorm", "BatchRenorm", "BatchRenorm/two_sets"),
        masked=(False, True),
    )
    def test_batch_norm_and_renorm(self, name, masked):
        shape = (6, 5, 4)
        layer = make(name, shape, virtual_batch_size=2)
        before = {k: v.astype("float64") for k, v in testing_utils.state(layer).items()}
        mask = keep = None
        if masked:
            mask = np.random.default_rng(2).uniform(size=shape[:2]) < 0.6
            mask[:2] = False  # a whole group, which the averages leave out
            mask[2::2] = True
            keep = mask.reshape(-1)
        x, upstream = data(shape)
        if masked:
            upstream *= mask[:, :, np.newaxis]
        reference = testing_utils.VirtualBatches(
            testing_utils.channels_last(x),
            3,
            layer.epsilon,
            before["gamma"],
            before["beta"],
            keep,
        )
        if "moving_stddev" in before:
            prefix = "renorm" if "renorm_mean" in before else "moving"
            averages = (before[f"{prefix}_{what}"] for what in ("mean", "stddev"))
            reference.correct(*averages, 1.1, 0.2)
        y, gradients = testing_utils.train_call(layer, x, upstream, mask)
        dx, *rest = reference.gradients(testing_utils.channels_last(upstream))
        output = reference.output.reshape(shape)
        if masked:
            y = tf.where(mask[:, :, np.newaxis], y, output)
        self.assert_close([y, *gradients], [output, dx.reshape(shape), *rest])
        self.assert_averages(layer, before, reference)

    def assert_averages(self, layer, before, reference):
        momenta = {"moving": 0.7, "renorm": 0.5}
        batch = {
            "mean": reference.mean,
            "stddev": reference.sigma,
            "variance": reference.variance,
        }
        after = testing_utils.state(layer)
        for name in before:
            kind, _, what = name.partition("_")
            if what == "variance" and "moving_stddev" in before:
                expected = after["moving_stddev"] ** 2 - layer.epsilon
            elif what:
                m = momenta[kind]
                expected = m * before[name] + (1.0 - m) * batch[what]
            else:
                expected = before[name] + (name == "step")
            self.assert_close([after[name]], [expected])

    @parameterized.product(order=(1, 2, "inf"), centered=(True, False))
    def test_lp(self, order, centered):
        layer = tfbn.LpBatchNorm(
            order=order, centered=centered, momentum=0.7, virtual_batch_size=2
        )
        x, _ = data((6, 5, 4))
        y = layer(x, training=True)
        groups = x.astype("float64").reshape(3, 10, 4)
        kind = {"order": order, "centered": centered}
        expected = [
            testing_utils.lp_output(g, epsilon=layer.epsilon, **kind) for g in groups
        ]
        norm = np.mean([testing_utils.lp_norm(g, **kind) for g in groups], axis=0)
        self.assert_close(
            [y, layer.moving_mean, layer.moving_norm],
            [
                np.reshape(expected, x.shape),
                0.3 * np.mean(groups, axis=(0, 1)),
                0.7 + 0.3 * norm,
            ],
        )


class UnusableBatchTest(VirtualBatchTestCase):
    @parameterized.product(
        name=tuple(LAYERS), what=("nan", "inf", "empty", "all_masked")
    )
    def test_the_averages_stay(self, name, what):
        """Also those of the other groups."""
        (x, _), mask = data((6, 5, 4)), None
        layer = make(name, x.shape, virtual_batch_size=2)
        before = testing_utils.state(layer)
        if what == "empty":
            x = x[:0]
        elif what == "all_masked":
            mask = tf.zeros((6, 5), "bool")
        else:
            x[4, 3, 1] = float(what)
        y = layer(x, training=True, mask=mask)
        self.assertEqual(y.shape, x.shape)
        after = testing_utils.state(layer)
        if "step" in before:
            self.assertEqual(after.pop("step"), before.pop("step") + 1)
        testing_utils.assert_same_state(after, before)

    @parameterized.parameters(tfbn.BatchNorm, tfbn.BatchRenorm)
    def test_the_other_groups_are_normalized(self, layer):
        x, _ = data((6, 5, 4))
        expected = layer(virtual_batch_size=2)(x, training=True)
        x[4, 3, 1] = np.nan
        y = layer(virtual_batch_size=2)(x, training=True)
        self.assertAllEqual(y[:4], expected[:4])
        self.assertAllEqual(y[4:, :, 2], expected[4:, :, 2])
        self.assertAllEqual(tf.math.is_nan(y[4:, :, 1]), np.ones((2, 5), "bool"))


class ArgumentTest(VirtualBatchTestCase):
    @each(LAYERS)
    def test_a_batch_that_it_does_not_divide(self, layer):
        message = r"must divide.*virtual_batch_size=4, number of samples: 6"
        with self.assertRaisesRegex(ValueError, message):
            layer(virtual_batch_size=4)(np.ones((6, 3)), training=True)

    @each(LAYERS)
    def test_a_batch_that_it_does_not_divide_when_it_runs(self, layer):
        layer = layer(virtual_batch_size=4)
        layer.build((None, 3))
        call = tf.function(
            lambda x: layer(x, training=True),
            input_signature=[tf.TensorSpec((None, 3))],
        )
        call(tf.ones((8, 3)))
        before = layer.moving_mean.numpy()
        with self.assertRaisesRegex(
            tf.errors.InvalidArgumentError, "must divide.*virtual_batch_size=4"
        ):
            call(tf.ones((6, 3)))
        self.assertAllEqual(layer.moving_mean, before)

    @parameterized.product(name=tuple(LAYERS), axis=(0, -3))
    def test_refused_if_the_channels_come_first(self, name, axis):
        layer = LAYERS[name](axis=axis, virtual_batch_size=2)
        message = rf"virtual_batch_size=2, axis={axis}, input shape \(4, 3, 2\)"
        with self.assertRaisesRegex(ValueError, message):
            layer.build((4, 3, 2))

    @each(LAYERS)
    def test_config(self, layer):
        self.assertIsNone(layer().get_config()["virtual_batch_size"])
        layer = layer(virtual_batch_size=np.int64(2))
        config = layer.get_config()
        self.assertIs(type(config["virtual_batch_size"]), int)
        again = type(layer).from_config(config)
        self.assertEqual(again.virtual_batch_size, 2)
        self.assertEqual(again.get_config(), config)

    @each(LAYERS)
    def test_keras_file(self, layer):
        model = testing_utils.one_layer_model(layer(virtual_batch_size=2), (4,))
        x, _ = data((6, 4))
        model(x, training=True)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        other = keras.saving.load_model(path)
        self.assertEqual(other.layers[-1].virtual_batch_size, 2)
        self.assertAllEqual(*(m(x, training=True) for m in (model, other)))


if __name__ == "__main__":
    tf.test.main()
