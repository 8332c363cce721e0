"""Property tests of the samplers, for any sizes, seeds and steps."""

import collections

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests import strategies
from tfbn.data import batches


def seeds():
    return st.integers(0, 2**63 - 1)


@st.composite
def groups(draw, minimum=1):
    """`(labels, size of the smallest group)` of up to 5 groups."""
    number = draw(st.integers(minimum, 5))
    sizes = draw(st.lists(st.integers(1, 9), min_size=number, max_size=number))
    names = draw(
        st.lists(st.integers(-9, 99), min_size=number, max_size=number, unique=True)
    )
    labels = np.repeat(names, sizes)
    order = np.random.default_rng(draw(strategies.seeds())).permutation(len(labels))
    return labels[order], min(sizes)


def sampler_of_some_kind(data):
    """`(function that makes a sampler of a seed, number of examples)`."""
    labels, smallest = data.draw(groups(minimum=2))
    size = data.draw(st.integers(1, smallest))
    return data.draw(
        st.sampled_from(
            (
                lambda seed: batches.IIDBatches(len(labels), size, seed),
                lambda seed: batches.ClassBiasedBatches(labels, 3, size, seed),
                lambda seed: batches.DomainBiasedBatches(labels, size, 2, seed),
            )
        )
    ), len(labels)


class PureTest(tf.test.TestCase):
    @strategies.examples(5)
    @hypothesis.given(st.data(), seeds(), st.lists(st.integers(0, 2**40), min_size=1))
    def test_function_of_seed_and_step(self, data, seed, steps):
        make, size = sampler_of_some_kind(data)
        sampler = make(seed)
        first = {step: sampler.indices(step).copy() for step in steps}
        other = make(seed)
        for step in reversed(steps):
            for again in (sampler.indices(step), other.indices(step)):
                self.assertEqual(again.dtype, np.int64)
                self.assertAllEqual(again, first[step])
                again += 1  # what the caller does to a batch is its own affair
            self.assertLen(first[step], sampler.batch_size)
            self.assertAllInRange(first[step], 0, size - 1)


class IIDTest(tf.test.TestCase):
    @strategies.examples(5)
    @hypothesis.given(st.integers(1, 60), st.data(), seeds(), st.integers(0, 20))
    def test_epochs_are_permutations(self, size, data, seed, epoch):
        batch_size = data.draw(st.integers(1, size))
        sampler = batches.IIDBatches(size, batch_size, seed)
        first, last = epoch * size, (epoch + 1) * size
        covering = range(first // batch_size, -(-last // batch_size))
        laid = np.concatenate([sampler.indices(step) for step in covering])
        start = first - covering[0] * batch_size
        self.assertAllEqual(np.sort(laid[start : start + size]), np.arange(size))


class ClassBiasedTest(tf.test.TestCase):
    @strategies.examples(5)
    @hypothesis.given(
        groups(), st.integers(1, 8), st.data(), seeds(), st.integers(0, 2**40)
    )
    def test_each_draw_is_of_one_label(self, grouped, draws, data, seed, step):
        labels, smallest = grouped
        images = data.draw(st.integers(1, smallest))
        sampler = batches.ClassBiasedBatches(labels, draws, images, seed)
        for row in sampler.indices(step).reshape(draws, images):
            self.assertLen(set(labels[row]), 1)
            self.assertLen(set(row), images)


class DomainBiasedTest(tf.test.TestCase):
    @strategies.examples(5)
    @hypothesis.given(
        groups(minimum=2), st.data(), st.integers(1, 4), seeds(), st.integers(0, 40)
    )
    def test_one_domain_at_a_time_and_all_of_it(
        self, grouped, data, stretch, seed, steps
    ):
        domains, smallest = grouped
        size = data.draw(st.integers(1, smallest))
        sampler = batches.DomainBiasedBatches(domains, size, stretch, seed)
        names = np.unique(domains)
        seen = collections.Counter()
        for step in range(steps):
            batch = sampler.indices(step)
            turn = names[step // stretch % len(names)]
            self.assertAllEqual(domains[batch], np.full(size, turn))
            seen.update(batch.tolist())
        for name in names[: steps // stretch]:
            # Pass after pass: no example is more than one pass ahead of another.
            counts = [seen[i] for i in np.flatnonzero(domains == name)]
            self.assertLessEqual(max(counts) - min(counts), 1)


if __name__ == "__main__":
    tf.test.main()
