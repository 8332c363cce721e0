"""Configs and .keras files of strangers, whose code does not run, and other versions.

Round trips are in conformance_test.py, files of released versions in fixtures_test.py.
"""

import os
import warnings
from unittest import mock

import keras
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import keras_files
from tests import testing_utils

# Arguments that take a config, by what deserializes it.
OBJECTS = ("dmax", "gamma_initializer", "beta_regularizer", "gamma_constraint")

LAYERS = {name: getattr(tfbn, name) for name in tfbn.layers.__all__}

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that lambdas are unsafe
    FOREIGN = keras_files.FOREIGN | {
        "lambda": keras.saving.serialize_keras_object(
            lambda *unused_arguments, **unused_options: __import__("os").system("true")
        )
    }


class UnsafeTest(tf.test.TestCase, parameterized.TestCase):
    """Each is refused, and before anything of it runs."""

    def setUp(self):
        super().setUp()
        self.system = self.enter_context(mock.patch.object(os, "system"))
        self.path = os.path.join(self.get_temp_dir(), "model.keras")

    def tearDown(self):
        self.assertEmpty(self.system.mock_calls)
        super().tearDown()

    def save(self, layer):
        testing_utils.one_layer_model(layer, (4,)).save(self.path)

    @parameterized.parameters(
        *((foreign, "rmax") for foreign in FOREIGN),
        *(("class_of_a_module", argument) for argument in OBJECTS),
    )
    def test_as_an_argument(self, foreign, argument):
        layer = tfbn.BatchRenorm(name="norm")
        config = layer.get_config() | {argument: FOREIGN[foreign]}
        with self.assertRaisesRegex(TypeError, f"{argument} must be .*Received: "):
            tfbn.BatchRenorm.from_config(config)
        self.save(layer)
        keras_files.change_layer(
            self.path, "norm", lambda layer: layer.update(config=config)
        )
        with self.assertRaisesRegex(TypeError, f"{argument} must be .*Received: "):
            keras.models.load_model(self.path)

    @parameterized.named_parameters(*keras_files.FOREIGN.items())
    def test_as_a_layer(self, foreign):
        self.save(tfbn.BatchNorm(name="norm"))
        keras_files.change_layer(self.path, "norm", lambda layer: layer.update(foreign))
        with self.assertRaisesRegex(
            (TypeError, ValueError), "(?i)could not|cannot deserialize"
        ):
            keras.models.load_model(self.path)

    def test_a_lambda_layer(self):
        layer = keras.layers.Lambda(lambda x: (__import__("os").system("true"), x)[1])
        self.save(layer)
        self.system.reset_mock()  # to build the model, Keras has called it
        with self.assertRaisesRegex(ValueError, "Python lambda.*disallowed by default"):
            keras.models.load_model(self.path)

    def test_only_schedules_are_made_of_the_config_of_a_bound(self):
        config = keras.saving.serialize_keras_object(keras.layers.Dense(3))
        with mock.patch.object(keras.layers.Dense, "from_config") as make:
            with self.assertRaisesRegex(ValueError, "rmax must be .*'class_name'"):
                tfbn.BatchRenorm(rmax=config)
        make.assert_not_called()

    def test_a_lambda_where_the_user_allows_it(self):
        """The tests above refuse what would run, not what is broken."""
        config = FOREIGN["lambda"]
        function = keras.saving.deserialize_keras_object(config, safe_mode=False)
        function()
        self.system.assert_called_once_with("true")
        self.system.reset_mock()


class OtherVersionsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*LAYERS.items())
    def test_an_argument_that_older_files_lack_has_its_default(self, cls):
        config = cls(name="norm").get_config()
        for key, default in config.items():
            older = {k: value for k, value in config.items() if k != key}
            if key != "name":
                self.assertEqual(cls.from_config(older).get_config()[key], default)
        self.assertEqual(cls.from_config({"name": "norm"}).get_config(), config)

    @parameterized.named_parameters(*LAYERS.items())
    def test_an_argument_that_only_newer_files_have_is_named(self, cls):
        """Ignored, it might leave out what the layer was trained with."""
        path = os.path.join(self.get_temp_dir(), "model.keras")
        testing_utils.one_layer_model(cls(name="norm"), (4,)).save(path)
        keras_files.change_layer(
            path, "norm", lambda layer: layer["config"].update(flavour="sour")
        )
        with self.assertRaisesRegex(
            TypeError, f"{cls.__name__}.*: {{'flavour': 'sour'}}"
        ):
            keras.models.load_model(path)

    def test_an_argument_that_only_newer_ramps_have_is_named(self):
        ramp = keras.saving.serialize_keras_object(
            tfbn.schedules.LinearRamp(1.0, 3.0, 0, 9)
        )
        ramp["config"]["flavour"] = "sour"
        with self.assertRaisesRegex(ValueError, "rmax must be .*Received: ") as caught:
            tfbn.BatchRenorm(rmax=ramp)
        self.assertIn("'flavour'", str(caught.exception.__cause__))


if __name__ == "__main__":
    tf.test.main()
