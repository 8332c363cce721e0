"""Tests of the schedules, against their piecewise definition in Python floats."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn import schedules

# Schedules give float32: 2**-24 of relative rounding in each of about five operations.
TOLERANCE = 4e-7


class LinearRampTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("graph", "xla")
    def test_one_trace_sees_it_move(self, mode):
        schedule = schedules.LinearRamp(1.0, 3.0, 2, 6)
        step = tf.Variable(0, dtype="int64")
        value, traces = testing_utils.count_traces(
            lambda: schedule(step), jit_compile=mode == "xla"
        )
        for expected in (1.0, 1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0):
            self.assertAllClose(value(), expected, rtol=TOLERANCE)
            step.assign_add(1)
        self.assertLen(traces, 1)

    @parameterized.parameters("int32", "int64", "float32")
    def test_step_of_any_type(self, dtype):
        schedule = schedules.LinearRamp(0.0, 4.0, 0, 4)
        self.assertAllClose(schedule(tf.constant(3, dtype)), 3.0, rtol=TOLERANCE)

    def test_a_keras_optimizer_takes_it(self):
        schedule = schedules.LinearRamp(0.0, 1.0, 0, 4)
        optimizer = keras.optimizers.SGD(schedule)
        variable = keras.Variable(0.0)
        rates = []
        for _ in range(6):
            before = variable.numpy()
            optimizer.apply([tf.constant(1.0)], [variable])
            rates.append(before - variable.numpy())
        self.assertAllClose(rates, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0])


class PresetsTest(tf.test.TestCase, parameterized.TestCase):
    def test_after(self):
        rmax, dmax = schedules.after(7, rmax=2.0, dmax=0.5)
        steps = (0, 6, 7, 8, 10**6)
        self.assertAllEqual([rmax(s) for s in steps], [1.0, 1.0, 2.0, 2.0, 2.0])
        self.assertAllEqual([dmax(s) for s in steps], [0.0, 0.0, 0.5, 0.5, 0.5])
        self.assertAllEqual([s(1) for s in schedules.after(1)], [3.0, 5.0])

    @parameterized.parameters(
        ({"steps": 0}, "steps must be at least 1.*steps=0"),
        ({"steps": 5, "rmax": 0.5}, "rmax must be at least 1.*rmax=0.5"),
        ({"steps": 5, "dmax": -1.0}, "dmax must be at least 0.*dmax=-1.0"),
    )
    def test_after_of_bad_arguments(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            schedules.after(**arguments)

    def test_fine_tuning(self):
        rmax, dmax = schedules.fine_tuning()
        layer = tfbn.BatchRenorm(rmax=rmax, dmax=dmax)
        self.assertAllEqual([float(b) for b in layer.bounds(0)], [1.5, 0.5])


class Ioffe2017Test(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (0, 1.0, 0.0),
        (5_000, 1.0, 0.0),
        (5_001, 1.0 + 2.0 / 35_000, 5.0 / 20_000),
        (15_000, 1.0 + 2.0 * 10 / 35, 2.5),
        (24_999, 1.0 + 2.0 * 19_999 / 35_000, 5.0 * 19_999 / 20_000),
        (25_000, 1.0 + 2.0 * 20 / 35, 5.0),
        (39_999, 1.0 + 2.0 * 34_999 / 35_000, 5.0),
        (40_000, 3.0, 5.0),
        (1_000_000, 3.0, 5.0),
    )
    def test_the_paper(self, step, expected_rmax, expected_dmax):
        rmax, dmax = schedules.ioffe_2017()
        self.assertAllClose(rmax(step), expected_rmax, rtol=TOLERANCE)
        self.assertAllClose(dmax(step), expected_dmax, rtol=TOLERANCE)

    def test_the_papers_length_is_the_default(self):
        pairs = zip(
            schedules.ioffe_2017(),
            schedules.ioffe_2017(schedules.IOFFE_2017_STEPS),
            strict=True,
        )
        for default, scaled in pairs:
            self.assertEqual(default.get_config(), scaled.get_config())

    def test_reference_steps_say_what_corresponds_to_the_run(self):
        rmax, dmax = schedules.ioffe_2017(800, reference_steps=40_000)
        self.assertEqual((rmax.begin_step, rmax.end_step), (100, 800))
        self.assertEqual((dmax.begin_step, dmax.end_step), (100, 500))

    def test_other_final_bounds_are_reached_at_the_same_steps(self):
        rmax, dmax = schedules.ioffe_2017(1300, rmax=1.5, dmax=0.5)
        self.assertAllClose([rmax(50), rmax(225), rmax(400)], [1.0, 1.25, 1.5])
        self.assertAllClose([dmax(50), dmax(150), dmax(250)], [0.0, 0.25, 0.5])
        with self.assertRaisesRegex(ValueError, "rmax must be .*Received: rmax=0.5"):
            schedules.ioffe_2017(1300, rmax=0.5)


class GetTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(2, 2.0, np.float32(2.0))
    def test_a_number(self, value):
        self.assertEqual(schedules.get("rmax", value, 1.0), 2.0)

    @parameterized.named_parameters(
        ("ramp", schedules.LinearRamp(1.0, 3.0, 0, 9)),
        ("polynomial", keras.optimizers.schedules.PolynomialDecay(1.0, 9, 3.0)),
        (
            "piecewise",
            keras.optimizers.schedules.PiecewiseConstantDecay([3, 6], [1.0, 2.0, 3.0]),
        ),
        ("cosine", keras.optimizers.schedules.CosineDecay(3.0, 9)),
    )
    def test_a_schedule_and_its_config(self, schedule):
        self.assertIs(schedules.get("rmax", schedule, 1.0), schedule)
        copy = schedules.get("rmax", schedules.serialize(schedule), 1.0)
        for step in (0, 3, 4, 9, 20):
            self.assertEqual(
                float(schedules.evaluate(copy, step)),
                float(schedules.evaluate(schedule, step)),
            )

    @parameterized.parameters(
        (0.99, r"rmax must be at least 1\. Received: rmax=0\.99"),
        (float("nan"), r"rmax.*Received: rmax=nan"),
        ("3", r"number or a LearningRateSchedule.*Received: rmax='3' of type str"),
        (None, r"Received: rmax=None"),
        (schedules.LinearRamp(0.5, 3.0, 0, 9), r"rmax\.initial_value=0\.5"),
        (schedules.LinearRamp(1.0, 0.25, 0, 9), r"rmax\.final_value=0\.25"),
    )
    def test_refuses(self, value, message):
        with self.assertRaisesRegex(ValueError, message):
            schedules.get("rmax", value, 1.0)

    def test_evaluate_gives_float32(self):
        for value in (2.5, schedules.LinearRamp(2.5, 3.0, 5, 9)):
            result = schedules.evaluate(value, tf.constant(3, "int64"))
            self.assertEqual(result.dtype, "float32")
            self.assertEqual(float(result), 2.5)


if __name__ == "__main__":
    tf.test.main()
