"""Tests of tfbn.recalibrate against pooled statistics in float64."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from keras import layers

import tfbn
from tests import testing_utils

# Averages are float32 roundings of float64 results, on float32 activations.
CLOSE = 1e-6

SIZES = (10, 1, 7)
EPSILON = 1e-3


def data(shape=(4,), offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    size = (sum(SIZES), *shape)
    return (testing_utils.random_batch(rng, size) + offset).astype("float32")


def split(x):
    return np.split(x, np.cumsum(SIZES)[:-1])


def model_of(*layers_, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *layers_])


def normalized(x, mean, variance):
    return (x - mean) / np.sqrt(variance + EPSILON)


class PooledTest(tf.test.TestCase, parameterized.TestCase):
    def _assert_averages(self, layer, **expected):
        state = testing_utils.state(layer)
        for name, value in expected.items():
            error = testing_utils.relative_error(state[name], value)
            self.assertLess(error, CLOSE, name)

    @parameterized.parameters(
        layers.BatchNormalization, tfbn.BatchNorm, tfbn.NoisyBatchNorm
    )
    def test_unequal_batches_with_an_offset(self, make):
        x, layer = data(offset=1e4), make()
        model = model_of(layer)
        wide = x.astype("float64")
        expected = {"moving_mean": wide.mean(0), "moving_variance": wide.var(0)}
        batches = [(part, np.zeros(len(part))) for part in split(x)]
        tfbn.recalibrate(model, batches)
        self._assert_averages(layer, **expected)
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(8).repeat()
        tfbn.recalibrate(model, dataset, num_batches=3)  # 18 samples: each once
        self._assert_averages(layer, **expected)

    @parameterized.parameters(
        lambda: layers.BatchNormalization(renorm=True),
        lambda: tfbn.BatchRenorm(renorm_momentum=0.5),
        tfbn.BatchRenorm,
    )
    def test_renorm(self, make):
        x, layer = data(), make()
        tfbn.recalibrate(model_of(layer), split(x))
        mean, variance = x.mean(0, "float64"), x.astype("float64").var(0)
        stddev = np.sqrt(variance + EPSILON)
        expected = {"moving_mean": mean, "moving_variance": variance}
        expected["moving_stddev"] = stddev
        if "renorm_mean" in testing_utils.state(layer):
            expected |= {"renorm_mean": mean, "renorm_stddev": stddev}
        self._assert_averages(layer, **expected)

    @parameterized.product(
        order=(1, 2, "inf"),
        options=({}, {"centered": True}, {"literal": True}),
    )
    def test_norms(self, order, options):
        x, layer = data(), tfbn.LpBatchNorm(order, **options)
        tfbn.recalibrate(model_of(layer), split(x))
        norms = [
            testing_utils.lp_norm(part.astype("float64"), order, **options)
            for part in split(x)
        ]
        self._assert_averages(
            layer,
            moving_mean=x.mean(0, "float64"),
            moving_norm=np.average(norms, axis=0, weights=SIZES),
        )

    def test_axes_masks_and_several_calls(self):
        """Of a channel whose elements are all masked, the averages stay."""
        x = data((2, 3, 4))
        norms = {1: layers.BatchNormalization(axis=1), -1: tfbn.BatchNorm()}
        norms[(1, 3)] = tfbn.BatchNorm(axis=(1, 3))
        inputs = keras.Input(x.shape[1:])
        outputs = [norm(inputs) for norm in norms.values()]
        outputs.append(norms[-1](inputs + 1.0))
        tfbn.recalibrate(keras.Model(inputs, outputs), split(x))
        wide = x.astype("float64")
        both = np.stack([wide, wide + 1.0])
        for norm, values, axis in (
            (norms[1], wide, (0, 2, 3)),
            (norms[-1], both, (0, 1, 2, 3)),
            (norms[(1, 3)], wide, (0, 2)),
        ):
            keepdims = norm is norms[(1, 3)]
            mean = values.mean(axis, keepdims=keepdims)
            variance = values.var(axis, keepdims=keepdims)
            self._assert_averages(norm, moving_mean=mean, moving_variance=variance)

        x = data((3, 4))
        x[:, 1:][::2] = 0.0  # masked
        model = model_of(layers.Masking(), norm := tfbn.BatchNorm(), shape=(3, 4))
        tfbn.recalibrate(model, split(x))
        kept = x[np.any(x != 0.0, axis=-1)].astype("float64")
        expected = {"moving_mean": kept.mean(0), "moving_variance": kept.var(0)}
        self._assert_averages(norm, **expected)
        tfbn.recalibrate(model, [np.zeros((2, 3, 4))])
        self._assert_averages(norm, **expected)

    @parameterized.parameters("batch", "population")
    def test_by_what_the_layers_before_normalise(self, normalize_by):
        x, first, second = data(), tfbn.BatchRenorm(), layers.BatchNormalization()
        model = model_of(first, layers.Dropout(0.5), layers.Rescaling(3.0), second)
        tfbn.recalibrate(model, split(x), normalize_by=normalize_by)
        parts = [part.astype("float64") for part in split(x)]
        by = parts if normalize_by == "batch" else [x.astype("float64")] * len(parts)
        inner = [
            3.0 * normalized(part, of.mean(0), of.var(0))
            for part, of in zip(parts, by, strict=True)
        ]
        inner = np.concatenate(inner)
        self._assert_averages(second, moving_variance=inner.var(0))
        self.assertAllClose(second.moving_mean, inner.mean(0), atol=CLOSE)

    def test_only_averages_change(self):
        norms = [tfbn.BatchRenorm(), tfbn.NoisyBatchNorm(), layers.BatchNormalization()]
        model = model_of(layers.Dense(4), *norms, layers.Dropout(0.5))
        norms[-1].trainable = False
        model.compile("adam", "mse", run_eagerly=True)
        model.train_on_batch(data(), data())
        state = [*model.variables, *model.optimizer.variables]
        before = [np.asarray(v) for v in state]
        tfbn.recalibrate(model, split(data(seed=1)))
        moved = {
            v.path
            for v, value in zip(state, before, strict=True)
            if not np.array_equal(v, value)
        }
        averages = norms[0].non_trainable_weights[:3] + norms[1].non_trainable_weights
        names = {variable.path for variable in averages}
        self.assertEqual(moved, names)


class RefusalsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (([],), {}, "at least one batch.*\\[\\]"),
        ((iter(()),), {}, "at least one batch.*read before"),
        ((data(),), {}, "iterable of batches.*ndarray.*in brackets"),
        ((3,), {}, "iterable of batches.*dataset=3"),
        (([data()], 2), {}, "at most the number.*num_batches=2, and 1 batches"),
        (([data()], 0), {}, "num_batches must be at least 1"),
        (([data((3,))],), {}, "inputs of the model.*float32 of shape .18, 3."),
        ((["text"],), {}, "inputs of the model.*Received: str"),
        (([np.full((2, 4), np.nan)],), {}, "finite activations.*norm"),
        ((tf.data.Dataset.from_tensors(data()).repeat(),), {}, "num_batches must"),
        ((iter([data()]),), {"normalize_by": "population"}, "read several times"),
        (([data()],), {"normalize_by": "mean"}, "one of 'batch', 'population'"),
    )
    def test_of_data(self, arguments, options, message):
        model = model_of(tfbn.BatchNorm(name="norm"))
        before = testing_utils.state(model.layers[0])
        with self.assertRaisesRegex(ValueError, f"{message}.*") as caught:
            tfbn.recalibrate(model, *arguments, **options)
        self.assertLen(str(caught.exception).splitlines(), 1)
        after = testing_utils.state(model.layers[0])
        testing_utils.assert_same_state(after, before)

    def test_of_models(self):
        class Loop(layers.TimeDistributed):
            def call(self, x):
                return keras.ops.vectorized_map(self.layer, x)

        loop = Loop(tfbn.BatchNorm(name="inner"))
        frozen = model_of(tfbn.BatchNorm())
        tfbn.freeze_batch_norm(frozen)
        for model, message in (
            (keras.Sequential([tfbn.BatchNorm()]), "must be built"),
            (model_of(layers.Dense(2)), "batch-norm layers.*has none"),
            (frozen, "not frozen.*1 have trainable=False.*unfreeze_batch_norm"),
            (model_of(loop, shape=(2, 4)), "outside of compiled loops.*inner"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                tfbn.recalibrate(model, [np.ones((5, 2, 4))])


if __name__ == "__main__":
    tf.test.main()
