"""Tests of the built-in images: their draws, their domains and their difficulty."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn.data._shapes import CLASSES
from tfbn.data._shapes import DOMAINS
from tfbn.data._shapes import shapes
from tfbn.data.outlines import OUTLINES


class ShapesTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dataset = shapes(num_train=5000, num_test=1000)

    def test_shapes_and_dtypes(self):
        train = self.dataset.train
        self.assertEqual(train.inputs.shape, (5000, 32, 32, 3))
        self.assertEqual(train.inputs.dtype, np.uint8)
        self.assertEqual(train.targets.dtype, np.int64)
        self.assertEqual(train.domains.dtype, np.int64)
        self.assertLen(self.dataset.test, 1000)
        self.assertEqual(self.dataset.num_classes, 10)
        self.assertLen(set(CLASSES), 10)

    def test_classes_are_equally_frequent(self):
        for split, count in ((self.dataset.train, 500), (self.dataset.test, 100)):
            self.assertAllEqual(np.bincount(split.targets), [count] * 10)

    def test_domain_is_independent_of_class(self):
        train = self.dataset.train
        table = np.zeros((10, len(DOMAINS)))
        np.add.at(table, (train.targets, train.domains), 1)
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        # Chi-square with 9 degrees of freedom: 27.9 is its 0.999 quantile.
        self.assertLess(np.sum((table - expected) ** 2 / expected), 27.9)
        self.assertNear(train.domains.mean(), 0.5, 0.04)

    def test_domains_differ_in_mean_and_variance(self):
        train = self.dataset.train
        warm, cold = (
            train.inputs[train.domains == domain].reshape(-1, 3).astype(np.float64)
            for domain in range(2)
        )
        warm_mean, cold_mean = warm.mean(axis=0), cold.mean(axis=0)
        self.assertGreater(warm_mean.mean(), cold_mean.mean() + 30)
        self.assertGreater(warm_mean[0], warm_mean[2] + 50)
        self.assertLess(cold_mean[0], cold_mean[2] - 30)
        self.assertAllGreater(warm.var(axis=0) / cold.var(axis=0), 1.5)

    def test_colour_is_seldom_cut_off(self):
        inputs = self.dataset.train.inputs
        self.assertLess(np.mean((inputs == 0) | (inputs == 255)), 0.03)

    def test_seed_decides(self):
        sizes = {"num_train": 30, "num_test": 20}
        first, again, other = (shapes(**sizes, seed=seed) for seed in (1, 1, 2))
        self.assertAllEqual(first.train.inputs, again.train.inputs)
        self.assertAllEqual(first.test.targets, again.test.targets)
        self.assertAllEqual(first.test.domains, again.test.domains)
        self.assertNotAllEqual(first.train.inputs, other.train.inputs)

    def test_a_small_data_set_is_the_beginning_of_a_large_one(self):
        small = shapes(num_train=600, num_test=1).train
        self.assertAllEqual(small.inputs, self.dataset.train.inputs[:600])
        self.assertAllEqual(small.targets, self.dataset.train.targets[:600])

    def test_all_images_differ(self):
        images = np.concatenate([self.dataset.train.inputs, self.dataset.test.inputs])
        self.assertLen({image.tobytes() for image in images}, 6000)

    def test_a_linear_classifier_fails(self):
        train, test = (
            np.asarray(self.dataset.standardize(inputs)).reshape(len(inputs), -1)
            for inputs in (self.dataset.train.inputs[:2500], self.dataset.test.inputs)
        )
        labels = self.dataset.train.targets[:2500]
        weights = _ridge(train, labels, penalty=1e4)
        ridge = np.mean((test @ weights).argmax(1) == self.dataset.test.targets)
        weights = _descend(train, labels, 5 * weights, steps=20)
        softmax = np.mean((test @ weights).argmax(1) == self.dataset.test.targets)
        # Above chance (0.1), far below what a convnet reaches (over 0.9).
        self.assertBetween(ridge, 0.15, 0.5)
        self.assertBetween(softmax, 0.15, 0.5)


class OutlinesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*OUTLINES)
    def test_distance_is_no_steeper_than_a_distance(self, outline):
        # Else an edge would be sharper than one pixel. Float32 differences: 1 % slack.
        line = np.linspace(-1.4, 1.4, 281, dtype=np.float32)
        distance = outline(*np.meshgrid(line, line))
        slope = np.max(np.abs(np.diff(distance, axis=1))) / (line[1] - line[0])
        self.assertLess(slope, 1.01)

    @parameterized.parameters(*OUTLINES)
    def test_fills_a_fair_part_of_its_square_and_stays_inside(self, outline):
        line = np.linspace(-1.4, 1.4, 281, dtype=np.float32)
        x, y = np.meshgrid(line, line)
        inside = outline(x, y) < 0
        area = inside.mean() * 2.8**2
        self.assertBetween(area, 0.8, 2.4)
        self.assertAllLess(np.hypot(x, y)[inside], 1.25)


def _ridge(inputs, labels, penalty):
    """The weights of ridge regression onto the centred one-hot labels."""
    # Solved in the examples' space, which is the smaller one here.
    targets = np.eye(10, dtype=np.float32)[labels] - 0.1
    gram = inputs @ inputs.T + penalty * np.eye(len(inputs), dtype=np.float32)
    return inputs.T @ np.linalg.solve(gram, targets)


def _descend(inputs, labels, weights, steps, learning_rate=1e-3):
    """Softmax regression by full-batch gradient descent."""
    targets = np.eye(10, dtype=np.float32)[labels]
    for _ in range(steps):
        logits = inputs @ weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        excess = odds / odds.sum(axis=1, keepdims=True) - targets
        weights = weights - learning_rate * inputs.T @ excess / len(inputs)
    return weights


if __name__ == "__main__":
    tf.test.main()
