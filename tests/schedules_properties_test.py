"""Property tests of the schedules, against their definition in exact fractions."""

import fractions
import json

import hypothesis
import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests import strategies
from tfbn import schedules

# Of the larger end of the ramp: 2**-24 of rounding in each of about five operations.
TOLERANCE = 5 * 2.0**-24
# float32 has no digits under it.
SMALLEST = 2.0**-126
LARGEST_STEP = 2**62


def values():
    return st.floats(-1e6, 1e6, width=32) | st.floats(-1e30, 1e30)


def steps():
    return (
        st.integers(0, 100)
        | st.integers(0, LARGEST_STEP)
        | st.sampled_from((2**24 + 1, 2**31 - 1, 2**31, 2**53 + 1, LARGEST_STEP))
    )


@st.composite
def ramps(draw):
    begin = draw(steps())
    duration = draw(st.integers(1, 100) | st.integers(1, LARGEST_STEP))
    end = min(begin + duration, 2**63 - 1)
    return schedules.LinearRamp(draw(values()), draw(values()), begin, end)


@st.composite
def ramps_and_steps(draw):
    """A ramp, and a step that is often on it."""
    ramp = draw(ramps())
    on_it = st.integers(ramp.begin_step, ramp.end_step)
    ends = st.sampled_from((ramp.begin_step, ramp.end_step))
    return ramp, draw(steps() | on_it | ends)


def exact(ramp, step):
    duration = ramp.end_step - ramp.begin_step
    progress = fractions.Fraction(step - ramp.begin_step, duration)
    progress = min(max(progress, 0), 1)
    ends = map(fractions.Fraction, (ramp.initial_value, ramp.final_value))
    initial, final = ends
    return float(initial + (final - initial) * progress)


class LinearRampTest(tf.test.TestCase):
    @strategies.examples(10)
    @hypothesis.given(ramps_and_steps())
    def test_is_its_definition(self, ramp_and_step):
        ramp, step = ramp_and_step
        value = ramp(tf.constant(step, tf.int64))
        self.assertEqual(value.dtype, tf.float32)
        size = max(abs(ramp.initial_value), abs(ramp.final_value))
        error = abs(float(value) - exact(ramp, step))
        self.assertLessEqual(error, TOLERANCE * size + SMALLEST)
        self.assertEqual(float(ramp(step)), float(value))

    @strategies.examples(5)
    @hypothesis.given(ramps(), st.integers(0, LARGEST_STEP))
    def test_the_ends_are_exact(self, ramp, further):
        before = ramp.begin_step, max(ramp.begin_step - further, 0)
        after = ramp.end_step, min(ramp.end_step + further, 2**63 - 1)
        for some, value in ((before, ramp.initial_value), (after, ramp.final_value)):
            value = np.float32(value)
            value = value if abs(value) >= SMALLEST else 0.0
            for step in some:
                self.assertEqual(float(ramp(step)), value)

    @strategies.examples(5)
    @hypothesis.given(ramps_and_steps(), steps())
    def test_is_monotone(self, ramp_and_step, other):
        """Up to the rounding of float32."""
        ramp, step = ramp_and_step
        early, late = (float(ramp(s)) for s in sorted((step, other)))
        rise = ramp.final_value - ramp.initial_value
        size = max(abs(ramp.initial_value), abs(ramp.final_value))
        self.assertGreaterEqual((late - early) * np.sign(rise), -TOLERANCE * size)

    @strategies.examples(0.5)
    @hypothesis.given(ramps(), st.lists(steps(), min_size=1, max_size=5))
    def test_in_a_graph(self, ramp, some_steps):
        call = tf.function(ramp, input_signature=[tf.TensorSpec([], tf.int64)])
        for step in (*some_steps, ramp.begin_step, ramp.end_step):
            step = tf.constant(step, tf.int64)
            self.assertEqual(float(call(step)), float(ramp(step)))

    @hypothesis.given(ramps())
    def test_survives_its_config(self, ramp):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(ramp)))
        restored = keras.saving.deserialize_keras_object(config)
        self.assertIsInstance(restored, schedules.LinearRamp)
        self.assertEqual(restored.get_config(), ramp.get_config())
        plain = schedules.LinearRamp.from_config(ramp.get_config())
        self.assertEqual(plain.get_config(), ramp.get_config())

    @hypothesis.given(values(), values(), steps(), steps())
    def test_refuses_a_ramp_that_ends_before_it_begins(self, one, two, begin, back):
        end = max(begin - back, 0)
        message = f"end_step must .*begin_step={begin}, end_step={end}"
        with self.assertRaisesRegex(ValueError, message):
            schedules.LinearRamp(one, two, begin, end)


class Ioffe2017Test(tf.test.TestCase):
    @strategies.examples(5)
    @hypothesis.given(st.integers(1, 10**12), st.integers(1, 10**9))
    def test_is_the_same_shape_of_any_length(self, total, reference):
        rmax, dmax = schedules.ioffe_2017(total, reference_steps=reference)
        for ramp, ends, paper_end in (
            (rmax, (1.0, 3.0), 40_000),
            (dmax, (0.0, 5.0), 25_000),
        ):
            self.assertEqual((ramp.initial_value, ramp.final_value), ends)
            # To the nearest step, of a quotient of 53 bits.
            for step, paper in ((ramp.begin_step, 5_000), (ramp.end_step, paper_end)):
                wanted = fractions.Fraction(paper * total, reference)
                slack = 0.5 + float(wanted) * 2.0**-51
                if step == ramp.end_step and wanted < ramp.begin_step + 1:
                    slack += 1.0  # a ramp takes a step at least
                self.assertLessEqual(abs(step - wanted), slack)
            self.assertLess(ramp.begin_step, ramp.end_step)


class KerasSchedulesTest(tf.test.TestCase):
    @hypothesis.given(
        st.floats(1e-3, 1e3), st.integers(1, 1000), st.floats(0.1, 1.0), steps()
    )
    def test_are_taken_as_they_are(self, start, decay_steps, rate, step):
        schedule = keras.optimizers.schedules.ExponentialDecay(start, decay_steps, rate)
        self.assertIs(schedules.get("rmax", schedule, 1.0), schedule)
        restored = schedules.get("rmax", schedules.serialize(schedule), 1.0)
        value = schedules.evaluate(restored, step)
        self.assertEqual(value.dtype, tf.float32)
        self.assertEqual(float(value), float(schedule(step)))


if __name__ == "__main__":
    tf.test.main()
