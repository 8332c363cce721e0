"""Tests of tfbn.diagnostics.renorm, against Algorithm 1 of Ioffe 2017 in float64."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import cross_entropy
from tfbn import diagnostics

_EPSILON = 1e-3
# float32 statistics of a dozen samples.
_RTOL = 1e-5

_MEAN = np.array([0.5, -1.0, 0.0, 2.0])
_STDDEV = np.array([1.0, 0.5, 3.0, 0.2])


def _model(**options):
    """BatchRenorm alone, with averages that are not those of any batch."""
    layer = tfbn.BatchRenorm(epsilon=_EPSILON, name="norm", **options)
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.moving_mean.assign(_MEAN)
    layer.moving_stddev.assign(_STDDEV)
    return model


def _batch(size=12):
    x = np.random.default_rng(0).normal(size=(size, 4))
    return (x * [1.0, 2.0, 0.5, 1.0] + [0.0, 1.0, 0.0, 0.5]).astype(np.float32)


def _expected(x):
    """sigma_B / sigma, (mu_B - mu) / sigma and |mu_B - mu| / sigma_B."""
    x = x.astype(np.float64)
    mean, stddev = x.mean(axis=0), np.sqrt(x.var(axis=0) + _EPSILON)
    return stddev / _STDDEV, (mean - _MEAN) / _STDDEV, np.abs(mean - _MEAN) / stddev


class RenormTest(tf.test.TestCase, parameterized.TestCase):
    def test_rows_of_a_dataset_are_its_batches(self):
        x = _batch()
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(8)  # 8 and 4
        r, d, _ = zip(_expected(x[:8]), _expected(x[8:]), strict=True)
        model = _model(rmax=2.0, dmax=1.0)
        (found,) = diagnostics.renorm_corrections(model, dataset)
        self.assertAllClose(found.r, r, rtol=_RTOL, atol=0.0)
        self.assertAllClose(found.d, d, rtol=_RTOL, atol=1e-6)
        self.assertEqual(found.d_clipped, np.mean(np.abs(d) > 1.0))

    def test_before_clipping(self):
        x = _batch()
        r, d, distance = _expected(x)
        (found,) = diagnostics.renorm_corrections(_model(rmax=2.0, dmax=1.0), x)
        self.assertEqual((found.name, found.rmax, found.dmax), ("norm", 2.0, 1.0))
        for value in (found.r, found.scale_ratio):
            self.assertAllClose(value, [r], rtol=_RTOL, atol=0.0)
        self.assertAllClose(found.d, [d], rtol=_RTOL, atol=1e-6)
        self.assertAllClose(found.mean_distance, [distance], rtol=_RTOL, atol=1e-6)
        # About 1, 4, 0.2 and 5 times the average: all but the first leave [1/2, 2].
        self.assertEqual(found.r_clipped, 0.75)
        self.assertEqual(found.d_clipped, np.mean(np.abs(d) > 1.0))
        record = found.record()
        expected = {
            "r_median": np.median(r),
            "r_least": r.min(),
            "r_largest": r.max(),
            "d_median": np.median(np.abs(d)),
            "d_largest": np.abs(d).max(),
            "common_scale": np.exp(np.log(r).mean()),
            "mean_distance": np.median(distance),
        }
        for name, value in expected.items():
            self.assertAllClose(record[name], value, rtol=_RTOL)

    def test_drift_correction_leaves_out_the_common_scale(self):
        x = _batch()
        ratio, _, _ = _expected(x)
        common = np.exp(np.log(ratio).mean())
        (found,) = diagnostics.renorm_corrections(_model(drift_correction=True), x)
        self.assertAllClose(found.scale_ratio, [ratio], rtol=_RTOL)
        self.assertAllClose(found.common_scale, common, rtol=_RTOL)
        self.assertAllClose(found.r, [ratio / common], rtol=_RTOL)
        mean = x.astype(np.float64).mean(axis=0)
        d = (mean / common - _MEAN) / _STDDEV
        self.assertAllClose(found.d, [d], rtol=_RTOL, atol=1e-5)

    def test_virtual_batches_and_channels_without_a_finite_statistic(self):
        x = _batch(8)
        (found,) = diagnostics.renorm_corrections(_model(virtual_batch_size=4), x)
        for row, part in zip(found.r, (x[:4], x[4:]), strict=True):
            self.assertAllClose(row, _expected(part)[0], rtol=_RTOL)
        x[0, 3] = np.nan
        (found,) = diagnostics.renorm_corrections(_model(rmax=2.0, dmax=1.0), x)
        r = _expected(x)[0][:3]
        self.assertAllClose(found.record()["r_largest"], r.max(), rtol=_RTOL)
        self.assertAllClose(found.r_clipped, 2.0 / 3.0)

    def test_only_training_calls_count_and_no_state_changes(self):
        inputs = keras.Input((4,))
        shared = tfbn.BatchRenorm(name="shared")
        frozen = tfbn.BatchRenorm(name="frozen", trainable=False)
        y = shared(shared(inputs) + 1.0)
        model = keras.Model(inputs, tfbn.BatchNorm()(frozen(y)))
        before = [v.numpy() for v in model.variables]
        found = diagnostics.renorm_corrections(model, _batch())
        self.assertEqual([f.name for f in found], ["shared", "shared#2"])
        # The first call normalises as BatchNorm does, and moves the averages from 0 and
        # 1 that the second, whose batch has a mean of 1, compares with.
        mean = _batch().astype(np.float64).mean(axis=0)
        stddev = np.sqrt(_batch().astype(np.float64).var(axis=0) + _EPSILON)
        d = (1.0 - 0.01 * mean) / (0.99 + 0.01 * stddev)
        self.assertAllClose(found[1].d, [d], rtol=_RTOL)
        for old, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(old, variable.numpy())

    @parameterized.parameters(False, True)
    def test_record_of_a_step(self, jit_compile):
        diagnostic = diagnostics.registry["renorm"]
        model = _model(rmax=2.0, dmax=1.0)
        meter = diagnostic.meter(model, jit_compile=jit_compile)
        state, batch = diagnostics.snapshot(model), (tf.constant(_batch()), None)
        step = diagnostics.TrainingStep(3, state, state, batch, None, batch, 0.1)
        (layer,) = meter.measure(step)["renorm"]["layers"]
        self.assertEqual(set(layer) - {"name"}, set(diagnostic.kinds[0].layer_values))
        self.assertAllClose(layer["r_largest"], _expected(_batch())[0].max())

    def test_model_without_batch_renorm(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        self.assertEqual(diagnostics.renorm_corrections(model, _batch()), [])
        labels = np.zeros([12], np.int64)
        result = tfbn.diagnose(
            model,
            _batch(),
            labels,
            loss=cross_entropy,
            diagnostics=["renorm"],
            learning_rate=0.1,
        )
        self.assertIn("no layer renormalises", result.left_out["renorm"])


if __name__ == "__main__":
    tf.test.main()
