"""Tests of tfbn.diagnostics.batches: instruments on several batches.

In inference mode a dataset has to give what one large batch gives; in training mode the
mean of gradients of the live model, batch by batch.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tests.testing_utils import graphs_as_traced
from tests.testing_utils import live_gradients
from tfbn import diagnostics
from tfbn.diagnostics import batches

# float32 sums in another order.
RTOL = 1e-5
# Differences of gradients that are about equal, and what follows from them.
DIFFERENCES = {"rtol": 1e-3, "atol": 1e-5}

# Numbers of examples of the batches.
SIZES = {"equal": (8, 8), "unequal": (7, 1, 8)}


def _model():
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, kernel_regularizer="l2"),
            tfbn.BatchNorm(),
            keras.layers.Activation("tanh"),
            keras.layers.Dense(3),
        ]
    )
    for _ in range(3):  # averages that are not the initial ones
        model(classification_batch((3,), 3)[0] + 0.5, training=True)
    return model


def _dataset(x, y, sizes):
    """Batches of the given sizes, one after the other."""
    spec = tuple(tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in (x, y))
    ends = np.cumsum(sizes)

    def parts():
        for end, size in zip(ends, sizes, strict=True):
            yield x[end - size : end], y[end - size : end]

    return tf.data.Dataset.from_generator(parts, output_signature=spec)


class BatchesTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(graphs_as_traced())
        cls.model = _model()
        cls.x, cls.y = classification_batch((3,), 3)

    def _both(self, function, sizes="unequal", **options):
        """Of a dataset, and of one large batch."""
        dataset = _dataset(self.x, self.y, SIZES[sizes])
        options |= {"training": False}
        many = function(self.model, cross_entropy, dataset, **options)
        return many, function(self.model, cross_entropy, self.x, self.y, **options)

    def test_mean_counts_examples(self):
        x = np.arange(16.0).reshape(16, 1)
        dataset = _dataset(x, x, SIZES["unequal"])

        def function(batch, _):
            return [tf.reduce_mean(batch), tf.reduce_mean(tf.square(batch), axis=0)]

        like = [tf.TensorSpec([], tf.float64), tf.TensorSpec([1], tf.float16)]
        for wrap in (lambda f: f, tf.function):
            one, other = wrap(lambda: batches.mean(function, dataset, like))()
            self.assertAllClose(one, 7.5)
            self.assertAllClose(other, [np.mean(np.square(x))], rtol=1e-3)
            self.assertEqual((one.dtype, other.dtype), (tf.float64, tf.float16))

    @parameterized.parameters(*SIZES)
    def test_covariate_shift(self, sizes):
        many, one = self._both(
            diagnostics.internal_covariate_shift, sizes, learning_rate=0.5
        )
        self.assertGreater(one[1].distance, 0.01)
        for a, b in zip(many, one, strict=True):
            self.assertEqual(a.name, b.name)
            self.assertAllClose(a[1:], b[1:], **DIFFERENCES)

    def test_covariate_shift_in_one_graph(self):
        # As on accelerators, here for a loss that reads a variable.
        factor = tf.Variable(1.0)
        one, many = (
            diagnostics.internal_covariate_shift(
                self.model,
                lambda y, p: factor * cross_entropy(y, p),
                *batch,
                learning_rate=0.5,
                training=False,
            )
            for batch in (
                (self.x, self.y),
                (_dataset(self.x, self.y, SIZES["unequal"]),),
            )
        )
        for a, b in zip(many, one, strict=True):
            self.assertAllClose(a[1:], b[1:], **DIFFERENCES)

    def test_landscape(self):
        many, one = self._both(diagnostics.landscape, step_sizes=[0.5, 1.0])
        self.assertAllClose(many.losses, one.losses, rtol=RTOL)
        self.assertAllClose(many.gradient_norm, one.gradient_norm, rtol=RTOL)
        self.assertAllClose(many.gradient_distances, one.gradient_distances, rtol=1e-4)
        self.assertAllClose(many.beta, one.beta, rtol=1e-4)

    def test_curvature(self):
        many, one = self._both(diagnostics.hessian_top_eigenvalue, tolerance=1e-5)
        self.assertAllClose(many.eigenvalue, one.eigenvalue, rtol=1e-4)

    def test_surface(self):
        many, one = self._both(diagnostics.loss_surface, radii=[-1.0, 0.0, 1.0])
        self.assertAllClose(many.losses, one.losses, rtol=RTOL)

    def test_trace(self):
        many, one = self._both(diagnostics.hessian_trace, products=2)
        self.assertAllClose(many.samples, one.samples, rtol=1e-4)

    def test_activations(self):
        many, one = (
            diagnostics.activation_moments(self.model, x, training=False, num_bins=5)
            for x in (_dataset(self.x, self.y, SIZES["unequal"]), self.x)
        )
        for a, b in zip(many, one, strict=True):
            self.assertEqual(a.name, b.name)
            for name in ("mean", "variance", "percentiles", "edges"):
                left, right = getattr(a, name), getattr(b, name)
                self.assertAllClose(left, right, rtol=RTOL, atol=1e-6)
            self.assertAllEqual(a.counts, b.counts)

    def test_noise_scale_is_the_mean_of_equal_batches(self):
        # Parts of one example, so that the split does not matter. The gradient of
        # |w.x|^2 at w is 2 (w.x) x.
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(1, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), layer])
        gradients = 2.0 * (self.x @ layer.kernel.numpy()) * self.x
        norms, traces = [], []
        for part in np.split(gradients[:8].astype(np.float64), 2):
            of_parts = np.mean(np.sum(np.square(part), axis=1))
            of_whole = np.sum(np.square(np.mean(part, axis=0)))
            norms.append((4.0 * of_whole - of_parts) / 3.0)
            traces.append((of_parts - of_whole) / (1.0 - 1.0 / 4.0))
        dataset = _dataset(self.x[:10], np.zeros([10, 1], np.float32), (4, 4, 2))
        found = diagnostics.gradient_noise_scale(
            model, keras.losses.MeanSquaredError(), dataset, parts=4
        )
        for result in (found, *found.layers):
            self.assertAllClose(result.squared_norm, np.mean(norms), rtol=RTOL)
            self.assertAllClose(result.covariance_trace, np.mean(traces), rtol=RTOL)
        self.assertEqual((found.small_batch, found.large_batch), (1, 4))

    def test_every_batch_has_its_own_statistics_in_training_mode(self):
        expected, begin = 0.0, 0
        values = [v.numpy() for v in self.model.trainable_variables]
        for size in SIZES["unequal"]:
            part = slice(begin, begin + size)
            _, gradients = live_gradients(
                self.model, values, self.x[part], self.y[part]
            )
            begin += size
            flat = np.concatenate([np.ravel(g) for g in gradients])
            expected += size / len(self.x) * flat
        expected[:12] += 0.02 * np.ravel(values[0])  # of the penalty, once
        loss = diagnostics.LossFunction(self.model, cross_entropy)
        state = diagnostics.snapshot(self.model)
        dataset = _dataset(self.x, self.y, SIZES["unequal"])
        found = np.concatenate(
            [np.ravel(g) for g in loss.gradients(*state, dataset, None)]
        )
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.long
    def test_diagnose(self):
        self.model.compile(keras.optimizers.SGD(0.1), cross_entropy)
        dataset = _dataset(self.x, self.y, SIZES["unequal"])
        options = {"curvature": {"iterations": 1}, "landscape": {"points": 2}}
        found = tfbn.diagnose(self.model, dataset, options=options)
        # Those that take a dataset, of the default ones.
        kinds = [record["kind"] for record in found.records]
        self.assertEqual(
            kinds, ["ics", "landscape", "activations", "curvature", "noise_scale"]
        )
        self.assertEqual(list(found.left_out), ["renorm"])
        for arguments, message in (
            ({"diagnostics": ["theory"]}, "must be among ics, .*Received: 'theory'"),
            ({"jit_compile": True}, "jit_compile must be False where x is a dataset"),
            ({"y": self.y}, "y must be None where x is a dataset"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                tfbn.diagnose(self.model, dataset, **arguments)

    def test_refused(self):
        x, y = tf.constant(self.x), tf.constant(self.y)
        pairs = tf.data.Dataset.from_tensors((x, y))
        for dataset, message in (
            (tf.data.Dataset.from_tensors(x), "dataset of batches .*elements of"),
            (tf.data.Dataset.from_tensors((x, y, y)), "dataset of batches"),
            (pairs.repeat(), "finite. Received: one with no end"),
            (pairs.take(0), "one or more batches.*with no elements"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                diagnostics.loss_surface(
                    self.model, cross_entropy, dataset, radii=[0.0]
                )
        with self.assertRaisesRegex(ValueError, "x must be one batch here"):
            diagnostics.gradient_identities(self.model, cross_entropy, pairs, None)


if __name__ == "__main__":
    tf.test.main()
