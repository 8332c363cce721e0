"""Tests of tfbn.diagnostics.noise_scale, against gradients of single examples."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tfbn import diagnostics

# float64 sums in another order; of float32 gradients where XLA compiles.
RTOL = 1e-10
FLOAT32_RTOL = 1e-4

_WEIGHTS = np.array([[0.5], [-1.0], [2.0]])


def half_squared_error(y_true, y_pred):
    return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(y_pred - y_true), axis=-1))


def _linear(dtype="float64"):
    """y = x w + c, whose gradient for an example is (r x, r), r being its residual."""
    layer = keras.layers.Dense(1, name="linear", dtype=dtype)
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layer])
    layer.set_weights([_WEIGHTS, np.array([0.25])])
    return model


def _examples(rng, size):
    x = rng.normal(size=(size, 3)) + 0.3
    return x, x @ _WEIGHTS + rng.normal(size=(size, 1))


def _gradients(x, y):
    """Of each example, `[examples, 4]`."""
    residual = x @ _WEIGHTS + 0.25 - y
    return np.concatenate([residual * x, residual], axis=1)


def _sample_covariance_trace(gradients):
    return np.sum(np.var(gradients, axis=0, ddof=1))


class NoiseScaleTest(tf.test.TestCase, parameterized.TestCase):
    def test_parts_of_one_example_give_the_sample_covariance(self):
        x, y = _examples(np.random.default_rng(0), 12)
        found = diagnostics.gradient_noise_scale(
            _linear(), half_squared_error, x, y, parts=12
        )
        gradients = _gradients(x, y)
        trace = _sample_covariance_trace(gradients)
        norm = np.sum(np.mean(gradients, axis=0) ** 2) - trace / 12
        self.assertAllClose(found.covariance_trace, trace, rtol=RTOL)
        self.assertAllClose(found.squared_norm, norm, rtol=RTOL)
        self.assertAllClose(found.noise_scale, trace / norm, rtol=RTOL)
        self.assertEqual((found.small_batch, found.large_batch), (1, 12))

    def test_splits_are_unbiased(self):
        # Over all splits of one batch, whatever their size, the mean is that of parts
        # of one example.
        x, y = map(tf.constant, _examples(np.random.default_rng(1), 12))
        meter = diagnostics.NoiseScaleMeter(_linear(), half_squared_error, parts=3)
        state = diagnostics.snapshot(_linear())
        found = [meter(state, x, y, seed=seed) for seed in range(400)]
        gradients = _gradients(x.numpy(), y.numpy())
        trace = _sample_covariance_trace(gradients)
        norm = np.sum(np.mean(gradients, axis=0) ** 2) - trace / 12
        for name, expected in (("covariance_trace", trace), ("squared_norm", norm)):
            values = [getattr(f, name) for f in found]
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            self.assertGreater(error, 0.0)
            # Four standard errors: a right estimator fails one run in 16,000.
            self.assertLess(abs(np.mean(values) - expected), 4.0 * error)

    def test_batches_are_unbiased(self):
        # x and the noise of y are normal, so that moments up to the fourth are known;
        # here from a million examples, whose error is small beside that of the mean.
        rng = np.random.default_rng(2)
        gradients = _gradients(*_examples(rng, 1_000_000))
        trace = _sample_covariance_trace(gradients)
        norm = np.sum(np.mean(gradients, axis=0) ** 2)
        model = _linear()
        meter = diagnostics.NoiseScaleMeter(model, half_squared_error, parts=4)
        state, found = diagnostics.snapshot(model), []
        for _ in range(400):
            found.append(meter(state, *map(tf.constant, _examples(rng, 16))))
        for name, expected in (("covariance_trace", trace), ("squared_norm", norm)):
            values = [getattr(f, name) for f in found]
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            self.assertLess(abs(np.mean(values) - expected), 4.0 * error)
            self.assertLess(error, 0.2 * trace)

    @parameterized.parameters((3, False), (14, True))  # XLA may draw other parts
    def test_equals_norms_of_the_parts_that_were_drawn(self, num_parts, jit_compile):
        # Layer by layer, with a structure of inputs; 14 examples leave 2 over.
        keras.utils.set_random_seed(3)
        inputs = {name: keras.Input((3,), name=name) for name in ("a", "b")}
        hidden = keras.layers.Dense(4, "tanh", name="hidden")
        outputs = keras.layers.Dense(3, name="logits")(
            hidden(inputs["a"]) + hidden(inputs["b"])
        )
        model = keras.Model(inputs, outputs)
        x, y = classification_batch((3,), 3, size=14)
        batch = tf.nest.map_structure(tf.constant, ({"a": x, "b": -2.0 * x}, y))
        meter = diagnostics.NoiseScaleMeter(
            model, cross_entropy, parts=num_parts, jit_compile=jit_compile
        )
        state = diagnostics.snapshot(model)
        found = meter(state, *batch, seed=7)
        loss, parts = diagnostics.LossFunction(model, cross_entropy), []
        for x_part, y_part in zip(
            *(_unstacked(p) for p in meter._split(batch, 7)), strict=True
        ):
            parts.append([g.numpy() for g in loss.gradients(*state, x_part, y_part)])
        whole = [np.mean(g, axis=0) for g in zip(*parts, strict=True)]
        b, size = found.small_batch, found.large_batch
        self.assertEqual((b, size), (14 // num_parts, 14 // num_parts * num_parts))
        for result, places in zip(
            (found, *found.layers), ([0, 1, 2, 3], [0, 1], [2, 3]), strict=True
        ):
            small = np.mean([sum(np.sum(p[i] ** 2) for i in places) for p in parts])
            large = sum(np.sum(whole[i] ** 2) for i in places)
            norm = (size * large - b * small) / (size - b)
            trace = (small - large) / (1 / b - 1 / size)
            self.assertAllClose(result.squared_norm, norm, rtol=FLOAT32_RTOL)
            self.assertAllClose(result.covariance_trace, trace, rtol=FLOAT32_RTOL)
        self.assertEqual([la.name for la in found.layers], ["hidden", "logits"])

    def test_another_sum_of_losses_has_the_same_noise_scale(self):
        x, y = _examples(np.random.default_rng(4), 12)

        def total(y_true, y_pred):
            return half_squared_error(y_true, y_pred) * tf.cast(
                tf.shape(y_true)[0], tf.float64
            )

        mean, summed = (
            diagnostics.gradient_noise_scale(_linear(), loss, x, y)
            for loss in (half_squared_error, total)
        )
        self.assertAllClose(summed.noise_scale, mean.noise_scale, rtol=RTOL)
        ratio = summed.squared_norm / mean.squared_norm
        self.assertAllClose(ratio, mean.small_batch**2, rtol=RTOL)

    def test_batch_normalisation_has_the_statistics_of_a_part(self):
        keras.utils.set_random_seed(5)
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4),
                keras.layers.BatchNormalization(),
            ]
        )
        x, y = classification_batch((3,), 4, size=8)
        # Parts that are all alike have no noise; with other statistics they would not
        # be alike in the gradient of the whole.
        x, y = np.tile(x[:1], (8, 1)), np.tile(y[:1], 8)
        found = diagnostics.gradient_noise_scale(model, cross_entropy, x, y, parts=2)
        self.assertAllClose(found.covariance_trace, 0.0, atol=1e-6)
        in_training, in_inference = (
            diagnostics.gradient_noise_scale(
                model, cross_entropy, *classification_batch((3,), 4), training=training
            )
            for training in (True, False)
        )
        self.assertNotAllClose(
            in_training.covariance_trace, in_inference.covariance_trace, rtol=0.05
        )

    def test_errors(self):
        x, y = _examples(np.random.default_rng(6), 3)
        with self.assertRaisesRegex(ValueError, "parts=4, and a batch of 3"):
            diagnostics.gradient_noise_scale(_linear(), half_squared_error, x, y)
        with self.assertRaisesRegex(ValueError, "parts must be at least 2.*parts=1"):
            diagnostics.NoiseScaleMeter(_linear(), half_squared_error, parts=1)


def _unstacked(parts):
    """The parts of a structure of tensors, one structure each."""
    count = tf.nest.flatten(parts)[0].shape[0]
    return [tf.nest.map_structure(lambda t: t[i], parts) for i in range(count)]  # noqa: B023


if __name__ == "__main__":
    tf.test.main()
