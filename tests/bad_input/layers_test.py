"""Bad arguments, inputs and masks of the layers."""

import functools
import math
import re

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.bad_input import base
from tfbn import schedules

_ALL = (
    tfbn.BatchNorm,
    tfbn.BatchRenorm,
    tfbn.NoisyBatchNorm,
    tfbn.LpBatchNorm,
)
_UNKNOWN_CONFIG = {"class_name": "NoSuchSchedule", "config": {}}


def _each(argument, rule, *values):
    """The rows of every layer that normalises."""
    return [row for c in _ALL for row in base.rows(c, argument, rule, *values)]


_COMMON = [
    *_each("momentum", "at least 0 and at most 1", 2, -0.1, 1e300),
    *_each("momentum", "must be a number", "0.9", None, [0.9]),
    *_each("momentum", "must be finite", math.nan, 10**400),
    *_each("epsilon", "greater than 0", 0, -1e-3),
    *_each("epsilon", "must be finite", math.inf),
    *_each("axis", "must be one integer", 1.5, "last", None, True, (1, 1), [1, 2]),
    *_each("virtual_batch_size", "integer of at least 1", 2.0, "4", True),
    *_each("virtual_batch_size", "at least 1", 0, -4),
]
_ROWS = [
    *_COMMON,
    *base.rows(tfbn.BatchNorm, "momentum", "must be a number", True, np.array([0.9])),
    *base.rows(tfbn.BatchNorm, "momentum", "must be a number", [0.5] * 1_000_000),
    *base.rows(tfbn.BatchNorm, "axis", "must be one integer", np.float32(1.0)),
    *base.rows(tfbn.BatchNorm, "axis", "must be one integer", 1e400, {}),
    *base.rows(tfbn.BatchNorm, "virtual_batch_size", "at most", 10**30),
    *base.rows(tfbn.BatchNorm, "center", "must be True or False", "no", None, 2),
    *base.rows(tfbn.BatchNorm, "scale", "must be True or False", 1.5, [True]),
    *base.rows(tfbn.BatchNorm, "synchronized", "must be True or False", "yes"),
    *base.rows(
        functools.partial(tfbn.BatchNorm, synchronized=True),
        "virtual_batch_size",
        "Give one of them",
        4,
    ),
    *base.rows(tfbn.BatchNorm, "renorm", "Use tfbn.BatchRenorm", True),
    *base.rows(tfbn.BatchNorm, "renorm_clipping", "tfbn.BatchRenorm", {"rmax": 2.0}),
    *base.rows(tfbn.BatchRenorm, "rmax", "at least 1", 0.5, 0, -3),
    *base.rows(tfbn.BatchRenorm, "rmax", "a LearningRateSchedule", "3", True, [1, 2]),
    *base.rows(tfbn.BatchRenorm, "rmax", "a LearningRateSchedule", tf.constant(3.0)),
    *base.rows(tfbn.BatchRenorm, "rmax", "a LearningRateSchedule", lambda step: 3.0),
    *base.rows(tfbn.BatchRenorm, "rmax", "LearningRateSchedule", {}, {"a": 1}),
    *base.rows(tfbn.BatchRenorm, "rmax", "the config of one", _UNKNOWN_CONFIG),
    *base.rows(tfbn.BatchRenorm, "rmax", "finite", math.nan),
    *base.rows(tfbn.BatchRenorm, "dmax", "at least 0", -1.0),
    *base.rows(tfbn.BatchRenorm, "dmax", "a LearningRateSchedule", "paper"),
    *base.rows(tfbn.BatchRenorm, "dmax", "finite", math.nan),
    *base.rows(tfbn.BatchRenorm, "renorm_momentum", "at most 1", 1.01),
    *base.rows(tfbn.BatchRenorm, "renorm_momentum", "must be a number", "0.9"),
    *base.rows(tfbn.LpBatchNorm, "order", "one of 1, 2, 'inf'", 3, 0, 1.5, "two", True),
    *base.rows(tfbn.LpBatchNorm, "order", "one of 1, 2, 'inf'", None, [1], np.ones(2)),
    *base.rows(tfbn.LpBatchNorm, "centered", "True or False", "no"),
    *base.rows(tfbn.LpBatchNorm, "literal", "True or False", 3),
    *base.rows(
        tfbn.LpBatchNorm, "moving_variance_initializer", "must be left out", "zeros"
    ),
    *[
        row
        for layer in (tfbn.NoisyBatchNorm, tfbn.ActivationNoise)
        for row in [
            *base.rows(layer, "mean_range", "at least 0", -0.5),
            *base.rows(layer, "stddev_max", "at least 1", 0.5),
            *base.rows(layer, "mean_jitter", "must be finite", math.inf),
            *base.rows(layer, "stddev_jitter", "must be a number", "0.1"),
            *base.rows(layer, "seed", "integer of at least 0", 1.5, "1", True),
            *base.rows(layer, "seed", "at least 0", -1),
            *base.rows(layer, "seed", "at most", 10**30),
        ]
    ],
    *base.rows(tfbn.ActivationNoise, "axis", "must be one integer", 0.5, None),
]


# Of its fields: where a schedule is wrong, the message tells what of it.
_RAMPS = [
    ("rmax", schedules.LinearRamp(0.5, 3.0, 0, 9), "rmax.initial_value=0.5"),
    ("rmax", schedules.LinearRamp(1.0, 0.25, 0, 9), "rmax.final_value=0.25"),
    ("dmax", schedules.LinearRamp(0.0, -1.0, 0, 9), "dmax.final_value=-1.0"),
]

# What Keras looks up by name.
_KERAS_OBJECTS = [
    *base.rows(tfbn.BatchNorm, "gamma_initializer", "mean 'ones'?", "onez"),
    *base.rows(tfbn.BatchNorm, "beta_initializer", "keras.initializers", 3, [1], "e"),
    *base.rows(tfbn.BatchRenorm, "moving_mean_initializer", "mean 'zeros'?", "Zeross"),
    *base.rows(tfbn.BatchNorm, "moving_variance_initializer", "keras.init", "big"),
    *base.rows(tfbn.LpBatchNorm, "gamma_regularizer", "keras.regularizers", "l3s"),
    *base.rows(tfbn.BatchNorm, "beta_regularizer", "keras.regularizers", 1e-4),
    *base.rows(tfbn.BatchNorm, "gamma_constraint", "mean 'non_neg'?", "nonneg"),
    *base.rows(tfbn.BatchNorm, "beta_constraint", "keras.constraints", -1),
]

# `(layer, inputs, mask, what the message says)`; the inputs that fit are [4, 3].
_X = np.ones((4, 3), "float32")
_CALLS = [
    ({}, np.ones(3), None, "inputs must have a batch axis", "input shape (3,)"),
    ({"axis": 2}, _X, None, "axis must be in [-2, 2)", "axis=2"),
    ({"axis": 10**30}, _X, None, "axis must be in [-2, 2)", f"axis={10**30}"),
    ({"axis": -3}, _X, None, "axis must be in [-2, 2)", "axis=-3"),
    ({}, np.full((4, 3), 1j), None, "must be real numbers", "dtype complex"),
    ({}, np.full((4, 3), "a"), None, "must be real numbers", "dtype string"),
    ({}, _X, np.ones(3, "bool"), "mask must have the shape", "mask.shape=(3,)"),
    ({}, _X, [True, False], "mask must have the shape", "mask.shape=(2,)"),
    ({}, _X, np.ones((4, 3)), "mask must have the shape", "mask.shape=(4, 3)"),
    ({}, _X, True, "mask must have the shape", "mask.shape=()"),
    ({"axis": 0}, _X, np.ones(4), "mask must have the shape", "mask.shape=(4,)"),
    ({"virtual_batch_size": 3}, _X, None, "must divide", "virtual_batch_size=3"),
    ({"virtual_batch_size": 8}, _X, None, "must divide", "virtual_batch_size=8"),
    (
        {"virtual_batch_size": 2, "axis": 0},
        _X,
        None,
        "must be None where axis 0",
        "virtual_batch_size=2, axis=0",
    ),
]


def _built(layer, shape=(None, 3)):
    layer.build(shape)
    return layer


_STEPS = [
    *base.rows(
        _built(tfbn.BatchRenorm()).bounds, "step", "integer of at least 0", 1.5, "1"
    ),
    *base.rows(_built(tfbn.BatchRenorm()).bounds, "step", "at least 0", -1),
    *base.rows(_built(tfbn.BatchRenorm()).bounds, "step", "at most", 10**30),
    *base.rows(tfbn.BatchRenorm().bounds, "step", "until the layer is built", None),
]


class ArgumentsTest(base.BadInputTest):
    @parameterized.parameters(*_ROWS, *_KERAS_OBJECTS, *_STEPS)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))

    @parameterized.parameters(*_RAMPS)
    def test_ramp_that_leaves_the_range(self, argument, ramp, received):
        with self.assertRaisesRegex(ValueError, f"Received: {re.escape(received)}"):
            tfbn.BatchRenorm(**{argument: ramp})

    @parameterized.parameters(
        ({"center": np.True_}, "center", True),
        ({"axis": np.int64(1)}, "axis", 1),
        ({"momentum": np.float32(0.5)}, "momentum", 0.5),
        ({"renorm": False, "renorm_clipping": None}, "renorm", False),
    )
    def test_not_refused(self, arguments, name, value):
        found = getattr(tfbn.BatchNorm(**arguments), name)
        self.assertIs(type(found), type(value))
        self.assertEqual(found, value)


class CallsTest(base.BadInputTest):
    @parameterized.product(layer=_ALL, case=_CALLS)
    def test_refused(self, layer, case):
        arguments, inputs, mask, rule, received = case
        with self.assertRaises(ValueError) as caught:
            layer(**arguments)(inputs, training=True, mask=mask)
        # Keras puts lines of its own around what a call raises.
        (line,) = [m for m in str(caught.exception).split("\n") if "Received: " in m]
        self.assertIn(rule, line)
        self.assertIn(received, line.partition("Received: ")[2])

    @parameterized.parameters(*_ALL)
    def test_channels_of_unknown_number(self, layer):
        with self.assertRaisesRegex(ValueError, r"known.*shape \(None, None\)"):
            layer()(keras.Input((None,)))

    @parameterized.parameters(*_ALL)
    def test_not_refused(self, layer):
        layer = _built(layer())
        before = [w.numpy() for w in layer.weights]
        self.assertEqual(layer(_X[:0], training=True).shape, (0, 3))
        for average, value in zip(layer.weights[2:4], before[2:4], strict=True):
            self.assertAllEqual(average, value)
        for x in (_X.astype("int32"), _X.astype("bool"), _X.tolist()):
            y = layer(np.array(x), training=True, mask=[True, True, False, True])
            self.assertEqual((y.shape, y.dtype), ((4, 3), "float32"))


if __name__ == "__main__":
    tf.test.main()
