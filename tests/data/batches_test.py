"""Tests of the samplers: each property against counts, never against the code."""

import copy
import pickle

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import data
from tfbn.data import Split

_LABELS = np.repeat(np.arange(5), [10, 20, 30, 7, 13])
_DOMAINS = np.tile([0, 1, 1], 40)


def _samplers(seed=0):
    """One of each kind, by name."""
    return {
        "iid": data.IIDBatches(25, 10, seed),
        "class_biased": data.ClassBiasedBatches(_LABELS, 4, 3, seed),
        "domain_biased": data.DomainBiasedBatches(_DOMAINS, 16, 5, seed),
    }


class SamplerContractTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*data.KINDS)
    def test_depends_on_seed_and_step_alone(self, kind):
        forward = [_samplers()[kind].indices(step) for step in range(30)]
        sampler = _samplers()[kind]
        for step in np.random.default_rng(1).permutation(30):
            self.assertAllEqual(sampler.indices(step), forward[step])
        for twin in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
            self.assertAllEqual(twin.indices(7), forward[7])

    @parameterized.parameters(*data.KINDS)
    def test_other_seeds_and_steps_give_other_batches(self, kind):
        batches = [
            tuple(_samplers(seed)[kind].indices(step))
            for seed in range(4)
            for step in range(4)
        ]
        self.assertLen(set(batches), 16)

    @parameterized.parameters(*data.KINDS)
    def test_a_changed_batch_does_not_change_the_next_call(self, kind):
        sampler = _samplers()[kind]
        expected = sampler.indices(2).copy()
        sampler.indices(2)[:] = -1
        self.assertAllEqual(sampler.indices(2), expected)


class IIDBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def test_epochs_have_different_orders(self):
        sampler = data.IIDBatches(100, 100)
        self.assertNotAllEqual(sampler.indices(0), sampler.indices(1))

    def test_epoch_order_is_the_documented_permutation(self):
        sampler = data.IIDBatches(10, 5, seed=4)
        epoch = np.concatenate([sampler.indices(6), sampler.indices(7)])
        self.assertAllEqual(epoch, np.random.default_rng((4, 3)).permutation(10))

    def test_an_example_s_place_is_uniform(self):
        sampler = data.IIDBatches(4, 4)
        places = [int(np.argmin(sampler.indices(step))) for step in range(2000)]
        counts = np.bincount(places, minlength=4)
        # Chi-square with 3 degrees of freedom: 16.3 is its 0.999 quantile.
        self.assertLess(np.sum((counts - 500) ** 2 / 500), 16.3)

    def test_a_late_step_costs_no_walk_through_the_early_ones(self):
        sampler = data.IIDBatches(50_000, 128)
        self.assertLen(set(sampler.indices(10**12)), 128)


class ClassBiasedBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def test_default_is_the_paper_s_batch(self):
        sampler = data.ClassBiasedBatches(np.repeat(np.arange(100), 5))
        self.assertEqual(sampler.batch_size, 32)
        pairs = np.repeat(np.arange(100), 5)[sampler.indices(0)].reshape(16, 2)
        self.assertAllEqual(pairs[:, 0], pairs[:, 1])

    def test_labels_are_uniform_and_drawn_with_replacement(self):
        sampler = data.ClassBiasedBatches(_LABELS, 4, 1)
        drawn = np.array([_LABELS[sampler.indices(step)] for step in range(1000)])
        counts = np.bincount(drawn.ravel(), minlength=5)
        # Chi-square with 4 degrees of freedom: 18.5 is its 0.999 quantile.
        self.assertLess(np.sum((counts - 800) ** 2 / 800), 18.5)
        # Four draws from five labels all differ with probability 24/125 = 0.192.
        all_differ = np.mean([len(set(row)) == 4 for row in drawn])
        self.assertNear(all_differ, 0.192, 0.05)

    def test_every_image_of_a_label_comes_up(self):
        sampler = data.ClassBiasedBatches(_LABELS, 8, 2)
        seen = np.concatenate([sampler.indices(step) for step in range(200)])
        self.assertAllEqual(np.unique(seen), np.arange(len(_LABELS)))


class DomainBiasedBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def test_domains_take_turns(self):
        sampler = data.DomainBiasedBatches(_DOMAINS, 8, 3)
        visited = [set(_DOMAINS[sampler.indices(step)]) for step in range(12)]
        self.assertEqual(visited, [{0}] * 3 + [{1}] * 3 + [{0}] * 3 + [{1}] * 3)

    @parameterized.parameters(0, 1)
    def test_every_example_once_a_pass_across_visits(self, domain):
        # 40 or 80 examples in batches of 8, three steps a visit: no pass ends with one.
        sampler = data.DomainBiasedBatches(_DOMAINS, 8, 3)
        steps = [step for step in range(60) if step // 3 % 2 == domain]
        members = np.flatnonzero(_DOMAINS == domain)
        per_pass = len(members) // 8
        stream = np.concatenate([sampler.indices(step) for step in steps[:per_pass]])
        again = [sampler.indices(step) for step in steps[per_pass : 2 * per_pass]]
        self.assertAllEqual(np.sort(stream), members)
        self.assertAllEqual(np.sort(np.concatenate(again)), members)
        self.assertNotAllEqual(stream, np.concatenate(again))


class MakeBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        inputs = rng.integers(256, size=(120, 4, 4, 3)).astype(np.uint8)
        self.split = Split(inputs, rng.integers(3, size=120), _DOMAINS.astype(np.int64))

    def test_iid(self):
        made = data.make_batches("iid", self.split, batch_size=12, seed=5)
        same = data.IIDBatches(120, 12, seed=5)
        self.assertAllEqual(made.indices(11), same.indices(11))

    def test_class_biased(self):
        made = data.make_batches(
            "class_biased", self.split, batch_size=12, seed=5, images_per_label=4
        )
        self.assertEqual(made.batch_size, 12)
        same = data.ClassBiasedBatches(self.split.targets, 3, 4, seed=5)
        self.assertAllEqual(made.indices(11), same.indices(11))

    def test_domain_biased(self):
        made = data.make_batches(
            "domain_biased", self.split, batch_size=12, seed=5, steps_per_domain=2
        )
        same = data.DomainBiasedBatches(_DOMAINS, 12, 2, seed=5)
        self.assertAllEqual(made.indices(11), same.indices(11))

    def test_refuses_regression_targets_as_labels(self):
        split = Split(np.ones((4, 2), np.float32), np.ones((4, 2), np.float32))
        with self.assertRaisesRegex(ValueError, r"labels.*shape \(4, 2\)"):
            data.make_batches("class_biased", split, batch_size=4)


if __name__ == "__main__":
    tf.test.main()
