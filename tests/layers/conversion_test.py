"""Tests of what becomes of the weights and configs of other batch-norm layers."""

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn.layers import conversion

# Against other float32 layers over some steps.
CLOSE = 1e-5

CLIPPING = {"rmax": 1.4, "rmin": 1.0 / 1.4, "dmax": 0.3}
AVERAGES = (
    "moving_mean",
    "moving_variance",
    "moving_stddev",
    "renorm_mean",
    "renorm_stddev",
)


def plain_values(value):
    """A config as JSON has it: without the wrappers of tf_keras."""
    if isinstance(value, dict):
        return {k: plain_values(v) for k, v in value.items()}
    return [plain_values(v) for v in value] if isinstance(value, list) else value


class RenormConfigTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        library=(keras, tf_keras),
        options=(
            {"renorm_clipping": CLIPPING},
            {"momentum": 0.9, "renorm_momentum": 0.7, "scale": False},
            {"renorm_clipping": {"dmax": tf.constant(0.5)}, "epsilon": 0.1},
            {"renorm_clipping": {"rmin": 0.0}},
        ),
    )
    def test_trains_as_the_layer_that_it_comes_from(self, library, options):
        theirs = library.layers.BatchNormalization(renorm=True, **options)
        theirs.build((None, 4))
        ours = tfbn.BatchRenorm.from_config(plain_values(theirs.get_config()))
        ours.build((None, 4))
        rng = np.random.default_rng(0)
        for _ in range(2):  # gives it a past
            theirs(testing_utils.random_batch(rng, (8, 4)), training=True)
        ours.set_weights(theirs.get_weights())
        for _ in range(3):
            x = testing_utils.random_batch(rng, (8, 4)) * 1.5
            outputs = [layer(x, training=True) for layer in (ours, theirs)]
            self.assertLess(testing_utils.relative_error(*outputs), CLOSE)
        for name in AVERAGES:
            pair = getattr(ours, name), getattr(theirs, name)
            self.assertLess(testing_utils.relative_error(*pair), CLOSE)
        self.assertEqual(int(ours.step), 3)
        self.assertLess(testing_utils.relative_error(ours(x), theirs(x)), CLOSE)

    @parameterized.parameters(
        ({"rmax": 3.0, "dmax": 5.0}, "rmin = 1 / rmax.*'rmax': 3.0"),
        ({"rmax": 3.0, "rmin": 0.5}, "rmin = 1 / rmax.*'rmin': 0.5"),
        ({"rmin": 0.5}, "rmin = 1 / rmax"),
        ({"rmax": 0.5, "rmin": 2.0}, "at least 1"),
        ({"dmax": -1.0}, "renorm_clipping.'dmax'. must be at least 0"),
        ({"rmaxx": 3.0}, "other keys than rmax, rmin, dmax.*rmaxx"),
    )
    def test_a_clipping_that_no_bounds_give(self, clipping, message):
        config = {"renorm": True, "renorm_clipping": clipping}
        with self.assertRaisesRegex(ValueError, f"{message}.*") as caught:
            tfbn.BatchRenorm.from_config(config)
        self.assertIn("Received: ", str(caught.exception))
        self.assertLen(str(caught.exception).splitlines(), 1)

    def test_bounds_that_were_added_come_first(self):
        config = {"renorm": True, "renorm_clipping": {"rmax": 3.0}}
        layer = tfbn.BatchRenorm.from_config({**config, "rmax": 2.0, "dmax": 1.0})
        self.assertEqual((layer.rmax, layer.dmax), (2.0, 1.0))

    @parameterized.parameters("float32", "mixed_float16", "float64")
    def test_dtypes(self, name):
        for dtype in (
            name,
            {"class_name": "Policy", "config": {"name": name}},
            keras.saving.serialize_keras_object(keras.DTypePolicy(name)),
        ):
            config = {"renorm": True, "axis": [-1], "dtype": dtype}
            layer = tfbn.BatchRenorm.from_config(config)
            self.assertEqual(layer.dtype_policy.name, name)
            config = {"axis": [1], "dtype": dtype}
            self.assertEqual(tfbn.BatchNorm.from_config(config).axis, 1)

    def test_of_a_plain_layer(self):
        """Its renorm_momentum, which has no meaning there, adds no second set."""
        theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=0.01)
        ours = tfbn.BatchRenorm.from_config(theirs.get_config())
        expected = tfbn.BatchRenorm(momentum=0.9, epsilon=0.01, name=theirs.name)
        self.assertEqual(ours.get_config(), expected.get_config())

    def test_renorm_into_a_layer_without(self):
        config = keras.layers.BatchNormalization(renorm=True).get_config()
        for make in (tfbn.BatchNorm.from_config, lambda c: tfbn.BatchNorm(**c)):
            with self.assertRaisesRegex(ValueError, "renorm=True.*BatchRenorm.from_co"):
                make(config)
        with self.assertRaisesRegex(ValueError, "renorm=True.*BatchRenorm.from_config"):
            tfbn.BatchRenorm(renorm=True, renorm_clipping=CLIPPING)


def weights(kind, seed=0):
    """By name, those of a layer of 3 channels; two sets of averages are equal."""
    rng = np.random.default_rng(seed)
    values = {
        name: rng.uniform(0.5, 2.0, 3).astype("float32")
        for name in ("gamma", "beta", *AVERAGES[:3])
    }
    if kind == "plain":
        del values["moving_stddev"]
    if kind in ("keras_renorm", "two_sets"):
        values["renorm_mean"] = values["moving_mean"]
        values["renorm_stddev"] = values["moving_stddev"]
    if kind in ("one_set", "two_sets"):
        values["step"] = np.int64(12)
    return values


LAYERS = {
    "plain": keras.layers.BatchNormalization,
    "keras_renorm": lambda: keras.layers.BatchNormalization(renorm=True),
    "one_set": tfbn.BatchRenorm,
    "two_sets": lambda: tfbn.BatchRenorm(renorm_momentum=0.5),
}


class WeightsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(source=tuple(LAYERS), target=tuple(LAYERS))
    def test_each_into_each(self, source, target):
        layer = LAYERS[target]()
        layer.build((None, 3))
        given = weights(source)
        expected = dict(given)
        if source == "plain":
            expected["moving_stddev"] = np.sqrt(given["moving_variance"] + 1e-3)
        expected.setdefault("renorm_mean", expected["moving_mean"])
        expected.setdefault("renorm_stddev", expected["moving_stddev"])
        expected.setdefault("step", 0)
        result = conversion.layer_weights(layer, list(given.values()))
        for weight, value in zip(layer.weights, result, strict=True):
            self.assertAllClose(value, expected[weight.name], rtol=1e-6, atol=0.0)

    def test_set_weights_of_the_layers(self):
        for cls in (tfbn.BatchNorm, tfbn.NoisyBatchNorm):
            layer = cls()
            layer.build((None, 3))
            layer.set_weights(list(weights("two_sets").values()))
            expected = weights("two_sets")["moving_variance"]
            self.assertAllEqual(layer.moving_variance, expected)

    def test_weights_of_another_kind_stay(self):
        layer = tfbn.LpBatchNorm()
        layer.build((None, 3))
        for given in ([np.ones(3)] * 7, [np.ones(3)]):
            self.assertIs(conversion.layer_weights(layer, given)[0], given[0])
            self.assertFalse(conversion.converts(layer))

    def test_unbuilt_layers_and_others_convert_nothing(self):
        self.assertFalse(conversion.converts(tfbn.BatchNorm()))
        self.assertFalse(conversion.converts(keras.layers.Dense(3)))


if __name__ == "__main__":
    tf.test.main()
