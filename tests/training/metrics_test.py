"""Tests of tfbn.training.metrics."""

import json
import math

import numpy as np
import tensorflow as tf

from tfbn.training import metrics


def steps(**values):
    return {name: np.array(v, np.float32) for name, v in values.items()}


class MetricsTest(tf.test.TestCase):
    def test_means_over_parts_of_any_size(self):
        collected = metrics.StepMetrics()
        collected.add(steps(loss=[1.0, 2.0], accuracy=[0.0, 0.5]))
        collected.add(steps(loss=[6.0], accuracy=[1.0]))
        self.assertEqual(collected.take_means(), {"loss": 3.0, "accuracy": 0.5})
        collected.add(steps(loss=[4.0], accuracy=[0.25]))
        self.assertEqual(collected.take_means(), {"loss": 4.0, "accuracy": 0.25})

    def test_skipped_steps_count_and_are_left_out(self):
        collected = metrics.StepMetrics()
        collected.add(steps(loss=[1.0, math.nan], skipped=[0.0, 1.0]))
        collected.add(steps(loss=[3.0], skipped=[0.0]))
        self.assertEqual(collected.num_skipped, 1)
        self.assertEqual(collected.take_means(), {"loss": 2.0})
        collected.add(steps(loss=[math.nan], skipped=[1.0]))
        self.assertEqual(collected.num_skipped, 2)
        self.assertTrue(math.isnan(collected.take_means()["loss"]))

    def test_values_give_it_back_to_the_bit(self):
        losses = np.random.default_rng(0).normal(size=7).astype(np.float32)
        losses[3] = np.nan
        one, other = metrics.StepMetrics(), metrics.StepMetrics()
        one.add(steps(loss=losses, skipped=[0, 0, 0, 1, 0, 0, 0]))
        other.take_values(json.loads(json.dumps(one.to_values())))
        for collected in (one, other):
            collected.add(steps(loss=[0.1, 0.2], skipped=[0, 0]))
        self.assertEqual(other.num_skipped, 1)
        self.assertEqual(one.take_means(), other.take_means())

    def test_values_of_nothing(self):
        empty = metrics.StepMetrics()
        empty.take_values(json.loads(json.dumps(empty.to_values())))
        empty.add(steps(loss=[2.0]))
        self.assertEqual(empty.take_means(), {"loss": 2.0})


if __name__ == "__main__":
    tf.test.main()
