"""Tests of tfbn.callbacks.single_steps: of a stand-in for Keras, and in its `fit`."""

import itertools
import types

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.callbacks import small
from tfbn import callbacks
from tfbn.callbacks.single_steps import SingleSteps


class _Model:
    """Has a train function that takes so many batches, or what is left of them."""

    def __init__(self, steps_per_execution, kind):
        self.steps_per_execution = steps_per_execution
        self.distribute_strategy = types.SimpleNamespace(
            num_replicas_in_sync={"dataset": 1, "list": 2}[kind]
        )
        self.calls, self.specs = [], []

        def train(iterator):
            batches = list(itertools.islice(iterator, steps_per_execution))
            self.calls.append([int(batch[0]) for batch in batches])
            self.specs.append(getattr(iterator, "element_spec", None))
            return {"last": self.calls[-1][-1]}

        self.train_function = train


def _batches(number, kind):
    """An iterator: batches of two, and at last one example, all of them the number."""
    examples = [i // 2 for i in range(2 * number - 1)]
    dataset = tf.data.Dataset.from_tensor_slices(examples).batch(2)
    return iter(dataset) if kind == "dataset" else iter(list(dataset))


class SingleStepsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("dataset", "list")
    def test_a_call_makes_the_same_steps(self, kind):
        model, seen = _Model(3, kind), []
        own, batches = model.train_function, _batches(8, kind)
        for name in "ab":
            SingleSteps.of(model).watch(
                lambda name=name: seen.append(name),
                lambda name=name: seen.append((name, *model.calls[-1])),
            )
        self.assertEqual(model.train_function(batches), {"last": 2})
        self.assertEqual(seen[:4], ["a", "b", ("a", 0), ("b", 0)])
        self.assertIs(model.train_function, own)
        self.assertEqual(model.train_function(batches), {"last": 5})
        SingleSteps.of(model).watch(lambda: None, lambda: seen.append("c"))
        self.assertEqual(model.train_function(batches), {"last": 7})  # of two batches
        self.assertEqual(model.calls, [[0], [1], [2], [3, 4, 5], [6], [7]])
        self.assertEqual(seen[12:], ["c", "c"])
        self.assertLen(set(model.specs), 1)  # or Keras would trace its function anew

    @parameterized.parameters("dataset", "list")
    def test_without_another_batch(self, kind):
        model = _Model(2, kind)
        SingleSteps.of(model).watch(self.fail, self.fail)
        with self.assertRaises(StopIteration):
            model.train_function(_batches(0, kind))


class FitTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (5, {"every": 2}, {}, 1),  # more than the batches of an epoch
        (3, {"every": 1, "spacing": "log"}, {"gradient_accumulation_steps": 2}, 2),
    )
    def test_steps_are_those_of_single_executions(
        self, number, cadence, options, epochs
    ):
        x, y = small.data(size=28)  # 3 batches of 8, and one of 4
        found = []
        for steps_per_execution in (1, number):
            rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.2])
            model = small.compiled(
                "subclassed",
                keras.optimizers.SGD(rate, **options),
                steps_per_execution=steps_per_execution,
            )
            found.append([])
            spy = small.spy(found[-1])
            watch = callbacks.Diagnostics(spy, *small.probe(x, y), **cadence)
            small.fit(model, x, y, watch, epochs=epochs)
        self.assertNotEmpty(found[0])
        for a, b in zip(*found, strict=True):
            self.assertEqual((a.step, a.learning_rate), (b.step, b.learning_rate))
            states = [tf.nest.flatten([m.before, m.after]) for m in (a, b)]
            for value, same in zip(*states, strict=True):
                np.testing.assert_array_equal(value, same)

    def test_several_callbacks_watch_one_fit(self):
        x, y = small.data(size=48)
        model = small.compiled("functional", steps_per_execution=3)
        watches = [
            callbacks.Diagnostics(small.spy([]), *small.probe(x, y), every=every)
            for every in (2, 4, 6)
        ]
        small.fit(model, x, y, *watches, epochs=1)
        found = [[r["step"] for r in watch.records] for watch in watches]
        self.assertEqual(found, [[0, 2, 4], [0, 4], [0]])


if __name__ == "__main__":
    tf.test.main()
