"""Tests of the warning that a run would stay plain batch normalisation."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn import schedules
from tfbn.training import renorm_bounds

# `(bounds, steps, whether they stay 1 and 0)`
_CASES = (
    ({}, 5_001, True),  # the bounds of calls 0 to 5,000
    ({}, 5_002, False),
    ({"rmax": schedules.ioffe_2017(total_steps=90)[0], "dmax": 0.0}, 90, False),
    ({"rmax": 1.0, "dmax": 0.0}, 90, False),  # meant so
    ({"rmax": schedules.LinearRamp(1.0, 1.0, 0, 9), "dmax": 0.0}, 90, False),
    ({"rmax": 1.5}, 90, False),
    ({"dmax": 0.0}, 90, True),
)


class WarnIfPlainTest(tf.test.TestCase, parameterized.TestCase):
    def warnings(self, layer, steps):
        model = testing_utils.one_layer_model(layer, (4,))
        with self.assertLogs("absl", "WARNING") as logs:
            renorm_bounds.logging.warning("one at least, which assertLogs wants")
            renorm_bounds.warn_if_plain(model, steps)
        return logs.output[1:]

    @parameterized.parameters(*_CASES)
    def test_cases(self, bounds, steps, stays_plain):
        found = self.warnings(tfbn.BatchRenorm(**bounds, name="norm"), steps)
        self.assertLen(found, int(stays_plain))
        for line in found:
            self.assertRegex(line, rf"all of the {steps} .*1 of 1 layers, such as norm")

    def test_a_model_that_was_trained_before(self):
        layer = tfbn.BatchRenorm()
        layer.build((None, 4))
        layer.step.assign(4_000)
        self.assertNotEmpty(self.warnings(layer, 1_001))
        self.assertEmpty(self.warnings(layer, 1_002))

    def test_a_trainer_warns(self):
        model = testing_utils.one_layer_model(tfbn.BatchRenorm(), (4,))
        batch = np.ones((2, 4), "float32"), np.ones((2, 4), "float32")
        with self.assertLogs("absl", "WARNING") as logs:
            tfbn.training.Trainer(
                model,
                "sgd",
                "mse",
                lambda step: batch,
                run_dir=self.get_temp_dir(),
                train_steps=30,
            )
        self.assertIn("all of the 30 training steps", logs.output[0])

    def test_other_layers(self):
        self.assertEmpty(self.warnings(keras.layers.BatchNormalization(), 5))


if __name__ == "__main__":
    tf.test.main()
