"""Tests of tfbn.load_weights: each file into each model gives the same inference."""

import os
import zipfile

import h5py
import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.loading import models

# Other float32 programs for the same numbers.
CLOSE = 1e-5

SUFFIXES = (".weights.h5", ".keras", ".h5")
NAMES = ("a", "b", "c")
MIXED = models.NORMS["mixed"]
OTHER_ORDER = [MIXED[2], MIXED[1], MIXED[0]]


def snapshot(model):
    return [np.array(weight) for weight in model.weights]


class EachIntoEachTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        *(("keras_renorm", suffix) for suffix in SUFFIXES),
        *(("tf_keras_renorm", suffix) for suffix in SUFFIXES),
        ("keras", ".h5"),
        ("tf_keras", ".keras"),
        ("batch_norm", ".keras"),
        ("batch_renorm", ".h5"),
    )
    def test_files_of_others(self, source, suffix):
        self.assert_loads(source, suffix, "mixed")

    @parameterized.parameters(
        ("keras", ".weights.h5"),
        ("keras_renorm", ".h5"),
        ("batch_norm", ".h5"),
        ("two_sets", ".weights.h5"),
        ("mixed_otherwise", ".keras"),
    )
    def test_into_other_models(self, target, suffix):
        self.assert_loads("batch_renorm", suffix, target)

    @parameterized.parameters(*SUFFIXES)
    def test_a_file_of_the_same_classes(self, suffix):
        self.assert_loads("mixed", suffix, "mixed")

    def assert_loads(self, source, suffix, target):
        model = models.other(target)
        tfbn.load_weights(model, models.saved(source, suffix))
        theirs = models.trained(source)
        error = testing_utils.relative_error(model(models.X), theirs(models.X))
        self.assertLess(error, CLOSE)

    def test_a_frozen_layer_inside_a_model_keeps_its_place(self):
        """Its gamma is then no trainable weight, and later in the list."""
        model = models.build("batch_renorm")
        block = next(i for i in model.layers if isinstance(i, keras.Sequential))
        block.layers[1].trainable = False
        tfbn.load_weights(model, models.saved("tf_keras", ".h5"))
        theirs = models.trained("tf_keras")
        error = testing_utils.relative_error(model(models.X), theirs(models.X))
        self.assertLess(error, CLOSE)


class StateTest(tf.test.TestCase):
    def test_of_plain_layers_into_renorm(self):
        ours = models.other("batch_renorm")
        ours.layers[2].step.assign(7)
        theirs = models.trained("keras").layers[2]
        tfbn.load_weights(ours, models.saved("keras", ".weights.h5"))
        layer = ours.layers[2]
        stddev = np.sqrt(theirs.moving_variance.numpy() + 1e-3)
        self.assertAllEqual(layer.moving_variance, theirs.moving_variance)
        self.assertAllClose(layer.moving_stddev, stddev, rtol=1e-6)
        self.assertEqual(int(layer.step), 7)

    def test_the_step_of_a_file(self):
        ours = models.other("batch_renorm")
        tfbn.load_weights(ours, models.saved("two_sets", ".h5"))
        self.assertEqual(int(ours.layers[2].step), 41)

    def test_the_optimizer_keeps_its_state(self):
        model = models.build("batch_norm")
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.ones_like(variable))
        tfbn.load_weights(model, models.saved("keras", ".weights.h5"))
        for variable in model.optimizer.variables:
            self.assertAllEqual(variable, np.ones(variable.shape))

    def test_several_classes_by_name(self):
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        theirs = models.randomize(models.build(MIXED, NAMES))
        theirs.save_weights(path)
        for norms in (OTHER_ORDER, models.NORMS["keras"]):
            ours = models.build(norms, NAMES)
            tfbn.load_weights(ours, path)
            error = testing_utils.relative_error(ours(models.X), theirs(models.X))
            self.assertLess(error, CLOSE)

    def test_attributes_lists_and_dicts_of_a_class(self):
        theirs, ours = map(_Blocks, (keras.layers.BatchNormalization, tfbn.BatchNorm))
        for model in (theirs, ours):
            model(models.X)
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        models.randomize(theirs).save_weights(path)
        tfbn.load_weights(ours, path)
        error = testing_utils.relative_error(ours(models.X), theirs(models.X))
        self.assertLess(error, CLOSE)

    def test_bfloat16(self):
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        layers = (keras.layers.BatchNormalization, tfbn.BatchNorm)
        theirs, ours = (
            testing_utils.one_layer_model(norm(dtype="bfloat16"), (3,))
            for norm in layers
        )
        theirs.layers[-1].moving_mean.assign([1.5, 2.0, 3.0])
        theirs.save_weights(path)
        tfbn.load_weights(ours, path)
        self.assertAllEqual(ours.layers[-1].moving_mean, [1.5, 2.0, 3.0])
        ours.save_weights(path)
        tfbn.load_weights(theirs, path)
        self.assertAllEqual(
            tf.cast(theirs.layers[-1].moving_mean, "float32"), [1.5, 2.0, 3.0]
        )


class _Blocks(keras.Model):
    def __init__(self, norm):
        super().__init__()
        self.bn = norm()
        self.blocks = [keras.layers.Dense(6), norm(), norm()]
        self.named = {"one": norm()}

    def call(self, inputs):
        x = self.bn(inputs)
        for layer in (*self.blocks, self.named["one"]):
            x = layer(x)
        return x


class MisfitTest(tf.test.TestCase, parameterized.TestCase):
    """Each is refused in one line, and leaves the model as it was."""

    def assert_refused(self, model, path, message):
        before = snapshot(model)
        with self.assertRaisesRegex(ValueError, message) as caught:
            tfbn.load_weights(model, path)
        self.assertLen(str(caught.exception).splitlines(), 1)
        for weight, value in zip(model.weights, before, strict=True):
            self.assertAllEqual(weight, value)

    @parameterized.parameters(*SUFFIXES)
    def test_another_width(self, suffix):
        model = models.build("batch_renorm", width=3)
        path = models.saved("keras", suffix)
        self.assert_refused(model, path, r"path='.*has shape .*Nothing was loaded")

    @parameterized.parameters(*SUFFIXES)
    def test_another_number_of_layers(self, suffix):
        model = testing_utils.one_layer_model(tfbn.BatchNorm(), (6,))
        message = "layers with weights" if suffix == ".h5" else "batch-norm layers"
        path = models.saved("keras", suffix)
        self.assert_refused(model, path, f"{message}.*Nothing was loaded")

    def test_a_layer_more_or_less(self):
        small, large = (
            keras.Sequential([keras.Input((3,)), tfbn.BatchNorm(), *rest])
            for rest in ([], [keras.layers.Dense(2)])
        )
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        large.save_weights(path)
        self.assert_refused(small, path, "the model has no layers/dense")
        small.save_weights(path)
        self.assert_refused(large, path, "layers/dense has 0 weights in it and 2")

    def test_several_classes_without_names(self):
        path = models.saved("mixed", ".weights.h5")
        message = "several classes.*Give the layers.*batch_renorm"
        self.assert_refused(models.other("keras"), path, message)

    def test_another_norm(self):
        """Its moving_norm is no variance."""
        model = testing_utils.one_layer_model(tfbn.BatchNorm(), (3,))
        theirs = testing_utils.one_layer_model(tfbn.LpBatchNorm(), (3,))
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        theirs.save_weights(path)
        self.assert_refused(model, path, "0 batch-norm layers in it and 1")

    @parameterized.parameters((True, False), (False, True))
    def test_no_gamma(self, theirs, ours):
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        layer = keras.layers.BatchNormalization(scale=theirs)
        testing_utils.one_layer_model(layer, (3,)).save_weights(path)
        model = testing_utils.one_layer_model(tfbn.BatchRenorm(scale=ours), (3,))
        self.assert_refused(model, path, "has [34] weights")

    def test_two_sets_of_averages(self):
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        theirs = models.randomize(models.build("keras_renorm"))
        theirs.layers[2].renorm_mean.assign(np.zeros(5))
        theirs.save_weights(path)
        model = models.other("batch_renorm")
        self.assert_refused(model, path, "renorm_momentum")

    def test_no_file_of_weights(self):
        model = models.other("batch_norm")
        folder = self.get_temp_dir()
        text, archive = (os.path.join(folder, n) for n in ("a.h5", "b.keras"))
        with open(text, "w", encoding="utf-8") as file:
            file.write("weights")
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("config.json", "{}")
        for path in (text, archive, folder, os.path.join(folder, "none.h5")):
            self.assert_refused(model, path, "path must be a .weights.h5.*Received")

    @parameterized.parameters("soft", "external", "data")
    def test_a_file_that_points_elsewhere(self, kind):
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        model = testing_utils.one_layer_model(tfbn.BatchNorm(), (3,))
        model.save_weights(path)
        with h5py.File(path, "r+") as file:
            vars_ = file["layers/batch_norm/vars"]
            del vars_["0"]
            if kind == "data":
                vars_.create_dataset("0", (3,), "f4", external=[("/etc/passwd", 0, 12)])
            else:
                link = {
                    "soft": h5py.SoftLink("/layers/batch_norm/vars/1"),
                    "external": h5py.ExternalLink("other.h5", "/a"),
                }
                vars_["0"] = link[kind]
        self.assert_refused(model, path, "link|another file")

    def test_an_unbuilt_model(self):
        model = keras.Sequential([tfbn.BatchNorm()])
        with self.assertRaisesRegex(ValueError, "model must be built. Received: "):
            tfbn.load_weights(model, models.saved("keras", ".h5"))


if __name__ == "__main__":
    tf.test.main()
