"""Tests of tfbn.training.training_mode."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import data
from tfbn.experiment import TrainConfig
from tfbn.experiment import task
from tfbn.training import training_mode

# float32 against float64.
RTOL = 1e-5


class TrainingModeTest(tf.test.TestCase, parameterized.TestCase):
    def test_loss_and_accuracy_by_the_statistics_of_each_batch(self):
        model = self._model(tfbn.BatchNorm(epsilon=0.01))
        evaluate = self._evaluation(model, training_mode_batch_size=10)
        losses, accuracies = [], []
        for x, y in self._batches(10, 4):
            scaled = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 0.01)
            loss, accuracy = _cross_entropy(scaled @ self._kernel, y)
            losses.append(loss)
            accuracies.append(accuracy)
        expected = {"loss": np.mean(losses), "accuracy": np.mean(accuracies)}
        self.assertAllClose(evaluate(), expected, rtol=RTOL)
        self.assertGreater(np.std(accuracies), 0.0)

    def test_renorm_corrects_at_the_present_step(self):
        rmax = tfbn.schedules.LinearRamp(1.0, 5.0, 0, 8)
        layer = tfbn.BatchRenorm(epsilon=0.01, rmax=rmax, dmax=0.25)
        model = self._model(layer)
        layer.step.assign(2)  # where rmax is 2
        mean, stddev = np.array([0.25, -4.0, 3.5]), np.array([4.0, 0.5, 1.5])
        layer.moving_mean.assign(mean)
        layer.moving_stddev.assign(stddev)
        losses = []
        for x, y in self._batches(10, 4):
            sigma = np.sqrt(x.var(axis=0) + 0.01)
            r = np.clip(sigma / stddev, 0.5, 2.0)
            d = np.clip((x.mean(axis=0) - mean) / stddev, -0.25, 0.25)
            scaled = (x - x.mean(axis=0)) / sigma * r + d
            losses.append(_cross_entropy(scaled @ self._kernel, y)[0])
        evaluate = self._evaluation(model, training_mode_batch_size=10)
        self.assertAllClose(evaluate()["loss"], np.mean(losses), rtol=RTOL)

    def test_it_changes_nothing_and_is_traced_once(self):
        layers = [
            tfbn.BatchRenorm(momentum=0.5),
            tfbn.NoisyBatchNorm(seed=1),
            keras.layers.Dropout(0.5, seed=2),
        ]
        model = self._model(*layers)
        evaluate = self._evaluation(model)
        before = [v.numpy() for v in model.variables]
        first = evaluate()
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())
        self.assertEqual(evaluate(), first)  # the same batches, the same noise
        model(self._images.standardize(self._split.inputs), training=True)
        self.assertNotEqual(evaluate(), first)  # other averages, other noise
        traces = evaluate._evaluate_batch.experimental_get_tracing_count()
        self.assertEqual(traces, 1)

    # The test split has 43 examples.
    @parameterized.parameters((10, 4), (43, 1), (30, 1), (1, 40))
    def test_about_the_whole_split_in_at_most_40_batches(self, size, num_batches):
        drawn = self._drawn(training_mode_batch_size=size)
        self.assertEqual(np.shape(drawn), (num_batches, size))
        # Those of one epoch: no example twice.
        self.assertLen(set(np.ravel(drawn)), num_batches * size)

    def test_batches_are_drawn_as_the_training_batches(self):
        options = {"sampling": "class_biased", "images_per_label": 2}
        drawn = self._drawn(training_mode_batch_size=8, **options)
        labels = self._split.targets[drawn].reshape(5, 4, 2)
        self.assertAllEqual(labels[..., 0], labels[..., 1])
        self.assertGreater(len(set(labels.ravel())), 1)
        other = self._drawn(training_mode_batch_size=8, seed=5, **options)
        self.assertNotAllEqual(drawn, other)

    def test_domains_take_turns(self):
        options = {"sampling": "domain_biased", "steps_per_domain": 1000}
        drawn = self._drawn(training_mode_batch_size=10, **options)
        domains = [set(row) for row in self._split.domains[drawn]]
        self.assertEqual(domains, [{0}, {1}, {0}, {1}])

    def test_loss_that_is_a_sum_is_that_of_the_whole_split(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        rows = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
        split = data.Split(rows, 2.0 * rows)
        zeros, ones = np.zeros(3, "float32"), np.ones(3, "float32")
        dataset = data.Dataset("rows", split, split, None, zeros, ones)
        evaluate = self._evaluation(model, dataset, training_mode_batch_size=10)
        error = rows.astype("float64") @ model.get_weights()[0] - 2.0 * rows
        self.assertAllClose(evaluate(), {"loss": 0.5 * np.sum(error**2)}, rtol=RTOL)

    @parameterized.parameters(
        ({"training_mode_batch_size": 44}, "number of examples, 43"),
        ({"training_mode_batch_size": 9, "sampling": "class_biased"}, "a multiple of"),
    )
    def test_batches_that_the_split_has_not(self, options, rule):
        size = options["training_mode_batch_size"]
        model = self._model(tfbn.BatchNorm())
        with self.assertRaisesRegex(
            ValueError, f"Received: training_mode_batch_size={size}.*{rule}"
        ):
            self._evaluation(model, **options)

    def test_nothing_unless_asked_for(self):
        model = self._model(tfbn.BatchNorm())
        config = TrainConfig(training_mode_batch_size=10)
        images = self._images
        found = training_mode.evaluation(config, model, task.task_of(images), images)
        self.assertIsNone(found)

    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        inputs = rng.normal([1.0, -2.0, 5.0], [1.0, 2.0, 0.5], (43, 3))
        self._split = data.Split(
            inputs.astype("float32"), rng.permutation(43) % 4, np.arange(43) % 2
        )
        mean = np.array([0.5, 0.0, 4.0], "float32")
        stddev = np.array([2.0, 1.0, 0.25], "float32")
        # No example of the training split may come into it.
        train = data.Split(np.full_like(inputs[:4], np.nan, "float32"), np.arange(4))
        self._images = data.Dataset("rows", train, self._split, 4, mean, stddev)

    def _model(self, *layers):
        logits = keras.layers.Dense(4, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), *layers, logits])
        self._kernel = logits.kernel.numpy().astype("float64")
        return model

    def _evaluation(self, model, dataset=None, **options):
        config = TrainConfig(eval_in_training_mode=True, **_shapes(options))
        dataset = dataset or self._images
        return training_mode.evaluation(config, model, task.task_of(dataset), dataset)

    def _drawn(self, **options):
        """The examples of the batches, `[batches, batch size]`."""
        evaluate = self._evaluation(self._model(tfbn.BatchNorm()), **options)
        drawn = []
        indices = evaluate._batches.indices
        evaluate._batches.indices = lambda step: (
            drawn.append(indices(step)) or drawn[-1]
        )
        evaluate()
        return np.stack(drawn)

    def _batches(self, size, num_batches):
        """The standardised batches of i.i.d. sampling, in float64."""
        sampler = data.IIDBatches(43, size, seed=0)
        for step in range(num_batches):
            indices = sampler.indices(step)
            x = self._split.inputs[indices].astype("float64")
            x = (x - self._images.mean) / self._images.stddev
            yield x, self._split.targets[indices]


def _shapes(options):
    """With a data set whose options allow each kind of sampling."""
    return {"dataset": "shapes", "training_mode_batch_size": 10, **options}


def _cross_entropy(logits, labels):
    """`(mean cross-entropy, accuracy)` of logits."""
    log_sum = np.log(np.sum(np.exp(logits), axis=1))
    loss = np.mean(log_sum - logits[np.arange(len(labels)), labels])
    return loss, np.mean(np.argmax(logits, axis=1) == labels)


if __name__ == "__main__":
    tf.test.main()
