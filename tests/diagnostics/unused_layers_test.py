"""Tests of every instrument on a model with layers that its `call` does not use.

What is measured of the layers in use has to be what the same network without the
others shows; entries per parameter are zeros, and entries per call are missing.
"""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tests.testing_utils import graphs_as_traced
from tfbn import diagnostics

# The same float32 numbers, by another trace.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}

USED, SPARE = ["conv1", "last"], ["spare", "conv2"]


class _Network(keras.Model):
    """Optionally with layers that have weights, and are never called."""

    def __init__(self, spare):
        super().__init__()
        self.conv = keras.layers.Conv2D(2, 2, name="conv1")
        self.norm = tfbn.BatchNorm(name="norm")
        if spare:
            self.spare = keras.layers.Dense(3, name="spare")
            self.spare.build((None, 5))
        self.flatten = keras.layers.Flatten()
        self.last = keras.layers.Dense(3, name="last")
        if spare:  # gamma and beta belong to `last` by their place
            self.spare_norm = tfbn.BatchNorm(name="spare_norm")
            self.spare_norm.build((None, 3))
            self.spare_conv = keras.layers.Conv2D(2, 2, name="conv2")
            self.spare_conv.build((None, 3, 3, 1))
            self.unbuilt = tfbn.BatchNorm(name="unbuilt")

    def call(self, x, training=None):
        return self.last(self.flatten(self.norm(self.conv(x), training=training)))


class UnusedLayersTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(graphs_as_traced())
        keras.utils.set_random_seed(0)
        cls.x, cls.y = classification_batch((3, 3, 1), 3)
        cls.model, cls.plain = _Network(spare=True), _Network(spare=False)
        for model in (cls.model, cls.plain):
            model(cls.x)
            model.compile(keras.optimizers.SGD(0.1), cross_entropy, jit_compile=False)
        for name in ("conv", "norm", "last"):
            weights = getattr(cls.model, name).get_weights()
            getattr(cls.plain, name).set_weights(weights)

    def _layers(self, name, **options):
        """The layers of a record by name, of the model and of its plain twin."""
        found = []
        for model in (self.model, self.plain):
            (record,) = tfbn.diagnose(
                model, self.x, self.y, diagnostics=[name], options={name: options}
            ).records
            found.append({la.pop("name"): la for la in record["layers"]})
        self.assertEqual(list(found[1]), USED)
        for layer in USED:
            self.assertAllClose(found[0][layer], found[1][layer], **TOLERANCE)
        return found[0]

    def _assert_zeros(self, layers, *values):
        self.assertEqual(list(layers), ["conv1", "spare", "last", "conv2"])
        for name in SPARE:
            for value in values:
                self.assertAllEqual(np.unique(layers[name][value]), [0.0])

    def test_activations_leave_them_out(self):
        self.assertEqual(list(self._layers("activations")), USED)
        # One that is chosen by name has to be called.
        with self.assertRaisesRegex(ValueError, "called by the model.*'spare'"):
            diagnostics.activation_moments(self.model, self.x, layers=["spare"])

    def test_theory_leaves_them_out(self):
        found = diagnostics.gradient_identities(
            self.model, cross_entropy, self.x, self.y
        )
        self.assertEqual([layer.name for layer in found], ["norm"])

    def test_covariate_shift_is_zero(self):
        layers = self._layers("ics")
        self._assert_zeros(layers, "distance", "norm", "norm_after")
        self.assertTrue(np.isnan(layers["spare"]["cosine"]))

    def test_landscape_is_flat(self):
        layers = self._layers("landscape", points=2)
        self._assert_zeros(layers, "gradient_distances")

    def test_curvature_is_zero(self):
        meter = diagnostics.CurvatureMeter(
            self.model,
            cross_entropy,
            groups={"spare": ["spare"]},
            per_layer=True,
            iterations=2,
        )
        state = diagnostics.snapshot(self.model)
        result = meter(state, tf.constant(self.x), tf.constant(self.y))
        (unused,) = result.layers
        self.assertEqual([unused.eigenvalue, unused.residual], [0.0, 0.0])
        self.assertNotEqual(result.eigenvalue, 0.0)

    def test_noise_scale_is_zero(self):
        layers = self._layers("noise_scale")
        self._assert_zeros(layers, "squared_norm", "covariance_trace")

    def test_surface_does_not_depend_on_them(self):
        losses = []
        for model in (self.plain, self.model):
            state = diagnostics.snapshot(model)
            used = {
                id(v)
                for name in ("conv", "norm", "last")
                for v in getattr(model, name).trainable_variables
            }
            along = [
                v.value if id(v) in used else 3.0 + v.value
                for v in model.trainable_variables
            ]
            meter = diagnostics.SurfaceMeter(model, cross_entropy)
            surface = meter(state, self.x, self.y, radii=[1.0], directions=[along])
            losses.append(surface.losses)
        self.assertAllClose(losses[0], losses[1], **TOLERANCE)

    def test_replication_is_zero(self):
        state = diagnostics.snapshot(self.model)
        moved = state._replace(parameters=[1.1 * p for p in state.parameters])
        meter = diagnostics.ReplicationMeter(
            self.model, cross_entropy, state.parameters
        )
        batch = tf.constant(self.x), tf.constant(self.y)
        used, unused = meter(state, moved, batch, batch)
        self.assertEqual([used.name, unused.name], ["conv1", "conv2"])
        self.assertGreater(used.gradient_sum, 0.0)
        self.assertEqual([unused.distance, unused.gradient_sum], [0.0, 0.0])

    def test_first_nonfinite_ignores_their_weights(self):
        kernel = self.model.spare.kernel.numpy()
        self.model.spare.kernel.assign(np.nan * kernel)
        self.addCleanup(self.model.spare.kernel.assign, kernel)
        found = diagnostics.first_nonfinite(self.model, cross_entropy, self.x, self.y)
        self.assertIsNone(found)

    def test_callback_measures_in_spite_of_them(self):
        model = _Network(spare=True)
        model(self.x)
        model.compile("sgd", cross_entropy, run_eagerly=True)
        watch = tfbn.callbacks.Diagnostics(["activations"], self.x, self.y)
        model.fit(self.x, self.y, verbose=0, callbacks=[watch])
        self.assertEqual([la["name"] for la in watch.records[0]["layers"]], USED)


if __name__ == "__main__":
    tf.test.main()
