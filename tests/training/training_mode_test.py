"""Tests of tfbn.training.training_mode."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tfbn import data
from tfbn.training import TrainingModeEvaluation

# float32 against float64.
RTOL = 1e-5


class TrainingModeTest(tf.test.TestCase):
    def test_loss_and_accuracy_by_the_statistics_of_each_batch(self):
        model = self._model(tfbn.BatchNorm(epsilon=0.01))
        evaluate = self._evaluation(model)
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
        evaluate = self._evaluation(model)
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
        model(self._x, training=True)
        self.assertNotEqual(evaluate(), first)  # other averages, other noise
        traces = evaluate._evaluate_batch.experimental_get_tracing_count()
        self.assertEqual(traces, 1)

    def test_loss_that_is_a_sum_is_that_of_all_examples(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        rows = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
        batches = data.ArrayBatches(rows, 2.0 * rows, data.IIDBatches(40, 10))
        loss = keras.losses.MeanSquaredError(reduction="sum")
        evaluate = TrainingModeEvaluation(model, loss, batches, 4)
        error = rows.astype("float64") @ model.get_weights()[0] - 2.0 * rows
        expected = np.sum(np.mean(error**2, axis=-1))
        self.assertAllClose(evaluate(), {"loss": expected}, rtol=RTOL)

    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self._x = rng.normal([1.0, -2.0, 5.0], [1.0, 2.0, 0.5], (43, 3))
        self._labels = rng.permutation(43) % 4
        self._mean, self._stddev = np.array([0.5, 0.0, 4.0]), np.array([2.0, 1.0, 0.25])

    def _model(self, *layers):
        logits = keras.layers.Dense(4, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), *layers, logits])
        self._kernel = logits.kernel.numpy().astype("float64")
        return model

    def _evaluation(self, model):
        batches = data.ArrayBatches(
            self._x.astype("float32"),
            self._labels,
            data.IIDBatches(43, 10),
            transform=lambda x: (x - self._mean) / self._stddev,
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return TrainingModeEvaluation(model, loss, batches, 4, metrics="accuracy")

    def _batches(self, size, num_batches):
        """The transformed batches, in float64."""
        sampler = data.IIDBatches(43, size)
        for step in range(num_batches):
            indices = sampler.indices(step)
            x = (self._x[indices] - self._mean) / self._stddev
            yield x, self._labels[indices]


def _cross_entropy(logits, labels):
    """`(mean cross-entropy, accuracy)` of logits."""
    log_sum = np.log(np.sum(np.exp(logits), axis=1))
    loss = np.mean(log_sum - logits[np.arange(len(labels)), labels])
    return loss, np.mean(np.argmax(logits, axis=1) == labels)


if __name__ == "__main__":
    tf.test.main()
