"""Bad inputs and masks of the layers, and arguments that contradict each other.

For single arguments see arguments_test.py.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.bad_input import base
from tfbn import schedules

# What an argument may be wrong in beside its type and range.
_ARGUMENTS = (
    (tfbn.BatchNorm, "axis", (), "must be an integer or a tuple of"),
    (tfbn.BatchNorm, "axis", (1, 2.0), "must be an integer or a tuple of"),
    (tfbn.BatchNorm, "axis", True, "must be an integer or a tuple of"),
    (tfbn.BatchNorm, "renorm", True, "Use tfbn.BatchRenorm"),
    (tfbn.BatchNorm, "renorm_clipping", {"rmax": 2.0}, "tfbn.BatchRenorm"),
    (tfbn.BatchNorm, "gamma_initializer", "onez", "mean 'ones'?"),
    (tfbn.BatchNorm, "beta_regularizer", 1e-4, "keras.regularizers"),
    (tfbn.BatchNorm, "gamma_constraint", "nonneg", "mean 'non_neg'?"),
    (tfbn.BatchRenorm, "rmax", lambda step: 3.0, "a LearningRateSchedule"),
    (tfbn.BatchRenorm, "rmax", tf.constant(3.0), "a LearningRateSchedule"),
    (tfbn.BatchRenorm, "rmax", {"class_name": "None", "config": {}}, "config of one"),
    (tfbn.LpBatchNorm, "moving_variance_initializer", "zeros", "must be left out"),
)
# Of a schedule that leaves the range, the message names the field.
_RAMPS = (
    ("rmax", schedules.LinearRamp(0.5, 3.0, 0, 9), r"rmax\.initial_value=0\.5"),
    ("rmax", schedules.LinearRamp(1.0, 0.25, 0, 9), r"rmax\.final_value=0\.25"),
    ("dmax", schedules.LinearRamp(0.0, -1.0, 0, 9), r"dmax\.final_value=-1\.0"),
)
# `(arguments, inputs, mask, rule, what is received)`; the inputs that fit are [4, 3].
_X = np.ones((4, 3), "float32")
_CALLS = (
    ({}, np.ones(3), None, "inputs must have a batch axis", "input shape (3,)"),
    ({"axis": 2}, _X, None, "axis must be in [-2, 2)", "axis=2"),
    ({"axis": -3}, _X, None, "axis must be in [-2, 2)", "axis=-3"),
    ({}, np.full((4, 3), 1j), None, "must be real numbers", "dtype complex"),
    ({}, np.full((4, 3), "a"), None, "must be real numbers", "dtype string"),
    ({}, _X, np.ones(3, "bool"), "mask must have the shape", "mask.shape=(3,)"),
    ({}, _X, np.ones((4, 3)), "mask must have the shape", "mask.shape=(4, 3)"),
    ({}, _X, True, "mask must have the shape", "mask.shape=()"),
    ({"axis": 0}, _X, np.ones(3), "mask must have the shape", "mask.shape=(3,)"),
    ({"axis": (1, -1)}, _X, None, "must not name an axis twice", "axis=(1, -1)"),
    ({"axis": (0, 1)}, _X, None, "must leave an axis", "axis=(0, 1)"),
    (
        {"virtual_batch_size": 2, "axis": 0},
        _X,
        None,
        "must be None where axis 0",
        "virtual_batch_size=2, axis=0",
    ),
)


class ArgumentsTest(base.BadInputTest):
    @parameterized.parameters(*_ARGUMENTS)
    def test_refused(self, layer, argument, value, rule):
        self.assert_refused(layer, argument, value, rule)

    @parameterized.parameters(*_RAMPS)
    def test_a_ramp_that_leaves_the_range(self, argument, ramp, received):
        with self.assertRaisesRegex(ValueError, f"Received: {received}"):
            tfbn.BatchRenorm(**{argument: ramp})

    def test_virtual_and_synchronized_exclude_each_other(self):
        self.assert_refused(
            tfbn.BatchNorm,
            "virtual_batch_size",
            4,
            "Give one of them",
            synchronized=True,
        )

    @parameterized.parameters(
        ({"center": np.True_}, "center", True),
        ({"axis": np.int64(1)}, "axis", 1),
        ({"axis": [3]}, "axis", 3),  # as in a config of tf_keras
        ({"momentum": np.float32(0.5)}, "momentum", 0.5),
        ({"virtual_batch_size": np.int64(2)}, "virtual_batch_size", 2),
        ({"renorm": False, "renorm_clipping": None}, "renorm", False),
    )
    def test_not_refused(self, arguments, name, value):
        found = getattr(tfbn.BatchNorm(**arguments), name)
        self.assertIs(type(found), type(value))
        self.assertEqual(found, value)

    def test_step(self):
        layer = tfbn.BatchRenorm()
        rule = "until the layer is built"
        self.assert_refused(layer.bounds, "step", None, rule)
        layer.build((None, 3))
        for value in (1.5, -1, 10**30):
            self.assert_refused(layer.bounds, "step", value)


class CallsTest(base.BadInputTest):
    @parameterized.parameters(*_CALLS)
    def test_refused(self, arguments, inputs, mask, rule, received):
        with self.assertRaises(ValueError) as caught:
            tfbn.BatchNorm(**arguments)(inputs, training=True, mask=mask)
        # Keras puts lines of its own around what a call raises.
        (line,) = [m for m in str(caught.exception).split("\n") if "Received: " in m]
        self.assertIn(rule, line)
        self.assertIn(received, line.partition("Received: ")[2])

    @parameterized.parameters(tfbn.BatchNorm, tfbn.ActivationNoise)
    def test_shapes(self, layer):
        for axis, shape, message in (
            (
                2,
                (None, 3),
                r"axis must be in \[-2, 2\).*axis=2, input shape \(None, 3\)",
            ),
            (-1, (None, None), r"known number.*\(None, None\) with axis=-1"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                layer(axis=axis).build(shape)
        with self.assertRaisesRegex(ValueError, r"axis=-4, input shape \(None, 3\)"):
            tfbn.BatchNorm(axis=-4).compute_output_shape((None, 3))

    def test_another_number_of_channels(self):
        layer = tfbn.BatchNorm()
        layer.build((None, 3))
        with self.assertRaisesRegex(ValueError, r"value 3.*shape \(2, 4\)"):
            layer(tf.ones((2, 4)))

    def test_no_channels_known(self):
        with self.assertRaisesRegex(ValueError, r"known.*shape \(None, None\)"):
            tfbn.BatchNorm()(keras.Input((None,)))

    def test_not_refused(self):
        layer = tfbn.BatchNorm()
        for x in (_X.astype("int32"), _X.astype("bool"), _X.tolist()):
            y = layer(np.array(x), training=True, mask=[True, True, False, True])
            self.assertEqual((y.shape, y.dtype), ((4, 3), "float32"))


if __name__ == "__main__":
    tf.test.main()
