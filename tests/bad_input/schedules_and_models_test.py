"""Bad arguments of the schedules and of the builders of networks."""

import math

import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.bad_input import base
from tfbn import models
from tfbn import schedules


def _ramp(initial_value=1.0, final_value=3.0, begin_step=10, end_step=20):
    return schedules.LinearRamp(initial_value, final_value, begin_step, end_step)


_SCHEDULES = [
    *base.rows(_ramp, "initial_value", "must be finite", math.nan, 10**400),
    *base.rows(_ramp, "initial_value", "must be a number", None, "1", 1j),
    *base.rows(_ramp, "final_value", "must be finite", math.inf),
    *base.rows(_ramp, "final_value", "must be a number", "3", tf.constant(3.0)),
    *base.rows(_ramp, "begin_step", "at least 0", -1),
    *base.rows(_ramp, "begin_step", "must be an integer", 0.5, True, None),
    *base.rows(_ramp, "end_step", "must be greater than begin_step", 10, 9),
    *base.rows(_ramp, "end_step", "must be an integer", "20", 20.0),
    *base.rows(_ramp, "end_step", "must be at most", 10**30),
    *base.rows(schedules.ioffe_2017, "total_steps", "at least 1", 0, -5),
    *base.rows(schedules.ioffe_2017, "total_steps", "must be an integer", 1e3, "1e3"),
    *base.rows(schedules.ioffe_2017, "total_steps", "must be at most", 10**30),
    *base.rows(
        schedules.ioffe_2017, "reference_steps", "an integer of at least 1", None, 1e5
    ),
    *base.rows(schedules.ioffe_2017, "reference_steps", "at least 1", 0),
]

_MODELS = [
    *base.rows(models.vgg, "depth", "mean 'A'?", "a"),
    *base.rows(models.vgg, "depth", "one of 'A', 'B', 'C'", "F", 11, None, ["A"]),
    *base.rows(models.vgg, "width", "greater than 0", 0.0, -1, 1e308),
    *base.rows(models.vgg, "width", "must be a number", "1.0", None),
    *base.rows(models.vgg, "width", "must be finite", math.inf, math.nan),
    *base.rows(models.vgg, "dropout", "at least 0 and less than 1", 1.0, -0.1),
    *base.rows(models.vgg, "dropout", "must be a number", True),
    *base.rows(models.vgg, "norm_after", "convolutions from 1 to 8", (9,)),
    *base.rows(models.vgg, "norm_after", "a list of integers", 4, "45", [1.5], [[1]]),
    *base.rows(models.vgg, "norm_after", "of at least 1", [0], [True]),
    *base.rows(models.vgg, "input_shape", "at least 32", (31, 32, 3)),
    *base.rows(
        models.vgg,
        "input_shape",
        "must be (height, width, channels)",
        (28, 28, 1),
        (32, 32),
        (1, 32, 32, 3),
    ),
    *base.rows(
        models.vgg,
        "input_shape",
        "a list of integers of at least 1",
        (None, None, 3),
        (32, 32, 0),
        (32.0, 32, 3),
        (10**30, 32, 3),
        ("32", 32, 3),
        32,
        "shape",
        None,
    ),
    *base.rows(models.vgg, "activation", "mean 'relu'?", "rellu"),
    *base.rows(models.vgg, "activation", "keras.activations", 3, [1]),
    *base.rows(models.vgg, "classifier_grid", "at least 1", 0, -7),
    *base.rows(models.vgg, "classifier_grid", "must be an integer", 7.0, "7", (7, 7)),
    *base.rows(models.mlp, "input_shape", "a list of integers", (0,), (-4, 4), (None,)),
    *base.rows(models.mlp, "input_shape", "a list of integers", 784, "x", (2.5,), None),
    *base.rows(models.mlp, "hidden_units", "a list of integers", 100, "100", None),
    *base.rows(models.mlp, "hidden_units", "a list of integers", (1.5,), [True]),
    *base.rows(models.mlp, "hidden_units", "of at least 1", (100, 0), [-1]),
    *base.rows(models.mlp, "activation", "mean 'relu'?", "rellu"),
    *base.rows(models.mlp, "activation", "keras.activations", 3, [1]),
    *base.rows(models.mlp, "name", "cannot contain", "a/b", 3),
    *base.rows(models.deep_linear, "depth", "at least 1", 0),
    *base.rows(models.deep_linear, "depth", "must be an integer", 2.0, None, "3"),
    *base.rows(models.deep_linear, "units", "must be an integer", 2.5, [10]),
    *base.rows(models.deep_linear, "norm_last", "True or False", 1, "yes"),
]
for _builder in (models.vgg, models.mlp, models.deep_linear):
    _MODELS += [
        *base.rows(_builder, "l2_penalty", "at least 0", -1e-4),
        *base.rows(_builder, "l2_penalty", "must be a number", "1e-4", None),
        *base.rows(_builder, "kernel_initializer", "mean 'he_normal'?", "he_norml"),
        *base.rows(_builder, "kernel_initializer", "keras.initializers", 3, {}),
        *base.rows(_builder, "norm", "None or a callable", "batch_norm", 3, True),
        *base.rows(_builder, "norm", "makes a new layer each time", tfbn.BatchNorm()),
    ]
for _builder in (models.vgg, models.mlp):
    _MODELS += [
        *base.rows(_builder, "num_classes", "at least 1", 0, -2),
        *base.rows(_builder, "num_classes", "must be an integer", 10.0, "10", None),
    ]

# Of more than 10**14 weights. The arguments are told together, as none is alone.
_HUGE = [
    *base.rows(models.deep_linear, "units", "fit into memory", 10**8, 2**62),
    *base.rows(models.mlp, "hidden_units", "fit into memory", (10**8, 10**8)),
    *base.rows(models.mlp, "num_classes", "fit into memory", 10**14),
    *base.rows(models.vgg, "width", "fit into memory", 1e4, 1e6),
    *base.rows(models.vgg, "input_shape", "fit into memory", (10**9, 10**9, 3)),
    *base.rows(models.vgg, "classifier_grid", "fit into memory", 10**6),
]


class SchedulesTest(base.BadInputTest):
    @parameterized.parameters(*_SCHEDULES)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))


class ModelsTest(base.BadInputTest):
    @parameterized.parameters(*_MODELS, *_HUGE)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))

    @parameterized.parameters(models.vgg, models.mlp, models.deep_linear)
    def test_norm_that_makes_no_layer(self, builder):
        with self.assertRaisesRegex(ValueError, r"norm must make .*returned 3"):
            builder(norm=lambda: 3)


if __name__ == "__main__":
    tf.test.main()
