"""Tests of tfbn.experiment.builders and of what the registries build."""

import functools
import os
import re

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from absl.testing import parameterized

import tfbn
from tfbn import data
from tfbn import layers
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.experiment._group_norm import GroupNorm
from tfbn.models.registry import NETWORKS

_HAS_KERNEL = re.compile(r"conv\d+|dense\d+|linear\d+|logits$")
_SMALL = {
    "vgg": {"width": 0.05, "hidden_units": (30,)},
    "mlp": {"kernel_initializer": "orthogonal"},
    "deep_linear": {"dataset": "gaussian", "linear_depth": 3},
    "resnet": {"resnet_depth": 8, "width": 0.25},
}


class BuildNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("batch_norm", tfbn.BatchNorm, {}),
        ("batch_renorm", tfbn.BatchRenorm, {}),
        ("noisy_batch_norm", tfbn.NoisyBatchNorm, {"mean_range": 0.5}),
        ("l1", tfbn.LpBatchNorm, {"order": 1}),
        ("l2", tfbn.LpBatchNorm, {"order": 2}),
        ("linf", tfbn.LpBatchNorm, {"order": "inf"}),
    )
    def test_layer_of_a_name(self, norm, layer_class, attributes):
        config = TrainConfig(
            norm=norm, norm_momentum=0.7, norm_epsilon=0.01, virtual_batch_size=4
        )
        layer = builders.build_norm(config)()
        self.assertIs(type(layer), layer_class)
        self.assertEqual((layer.momentum, layer.epsilon), (0.7, 0.01))
        self.assertEqual(layer.virtual_batch_size, 4)
        for name, value in attributes.items():
            self.assertEqual(getattr(layer, name), value)
        layer = builders.build_norm(TrainConfig(norm=norm))()
        self.assertIsNone(layer.virtual_batch_size)

    def test_none_and_noise_only(self):
        self.assertIsNone(builders.build_norm(TrainConfig(norm="none")))
        layer = builders.build_norm(TrainConfig(norm="noise_only"))()
        self.assertIs(type(layer), tfbn.ActivationNoise)

    # rmax at its begin, half-way and at its end; the paper's steps are 5k, 40k and 25k.
    @parameterized.parameters(
        ("paper", 13_000, 5_000, 40_000, 25_000),
        ("scaled", 13_000, 500, 4_000, 2_500),
    )
    def test_renorm_schedule(self, schedule, train_steps, begin, rmax_end, dmax_end):
        config = TrainConfig(
            renorm_schedule=schedule, train_steps=train_steps, rmax=5.0, dmax=2.0
        )
        layer = builders.build_norm(config)()
        expected = {
            begin: (1.0, 0.0),
            (begin + rmax_end) // 2: (3.0, None),
            (begin + dmax_end) // 2: (None, 1.0),
            rmax_end: (5.0, 2.0),
        }
        for step, (rmax, dmax) in expected.items():
            found_rmax, found_dmax = layer.bounds(step)
            if rmax is not None:
                self.assertAllClose(found_rmax, rmax)
            if dmax is not None:
                self.assertAllClose(found_dmax, dmax)

    def test_constant_bounds(self):
        config = TrainConfig(renorm_schedule="constant", rmax=2.0, dmax=0.5)
        self.assertAllClose(builders.build_norm(config)().bounds(0), (2.0, 0.5))

    def test_bounds_that_open_too_early_for_the_averages(self):
        def build(**options):
            with self.assertLogs("absl", "WARNING") as logs:
                logging.warning("one at least, which assertLogs wants")
                builders.build_norm(TrainConfig(**options))
            return logs.output[1:]

        # 77 steps of 2,000; 577 of 15,000.
        (line,) = build(train_steps=2000)
        self.assertIn("open at step 77, when 46 % of the moving averages", line)
        self.assertEmpty(build(train_steps=2000, momentum_warmup=True))
        self.assertEmpty(build(train_steps=15_000))
        (line,) = build(renorm_schedule="constant", rmax=1.5, dmax=0.5)
        self.assertIn("open at step 0, when 100 %", line)

    # `(groups asked for, channels, groups)`.
    @parameterized.parameters(
        (32, 64, 32), (32, 16, 8), (32, 100, 25), (4, 6, 3), (32, 7, 1), (32, 1, 1)
    )
    def test_group_norm(self, asked, channels, groups):
        config = TrainConfig(norm="group_norm", norm_groups=asked, norm_epsilon=0.01)
        layer = builders.build_norm(config)()
        x = np.random.default_rng(0).normal(3.0, 2.0, (2, 5, channels))
        found = layer(x.astype("float32"))
        self.assertEqual(layer.groups, groups)
        parts = x.reshape(2, 5, groups, -1)
        mean = parts.mean(axis=(1, 3), keepdims=True)
        variance = parts.var(axis=(1, 3), keepdims=True)
        expected = (parts - mean) / np.sqrt(variance + 0.01)
        self.assertAllClose(found, expected.reshape(x.shape), rtol=1e-5, atol=1e-5)

    def test_relative_noise_is_in_units_of_the_spread(self):
        layer, plain = (
            kind(seed=1)
            for kind in (
                builders.build_norm(TrainConfig(norm="relative_noise")),
                layers.ActivationNoise,
            )
        )
        rng = np.random.default_rng(0)
        unit = rng.normal(size=(64, 3, 3, 4)).astype("float32")
        unit = (unit - 2.0) / unit.std(axis=(0, 1, 2))
        size = np.array([0.01, 1.0, 30.0, 0.0], "float32")
        found, expected = layer(size * unit, training=True), plain(unit, training=True)
        self.assertAllClose(found, size * expected, rtol=1e-4, atol=1e-5)
        self.assertAllEqual(layer(unit, training=False), unit)

    def test_group_norm_is_saved(self):
        inputs = keras.Input((4, 6))
        model = keras.Model(inputs, GroupNorm(4)(inputs))
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
        self.assertAllEqual(keras.models.load_model(path)(x), model(x))


class BuildOptimizerTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("sgd", keras.optimizers.SGD),
        ("momentum", keras.optimizers.SGD),
        ("adam", keras.optimizers.Adam),
        ("rmsprop", keras.optimizers.RMSprop),
    )
    def test_optimizer_of_a_name(self, name, optimizer_class):
        config = TrainConfig(optimizer=name, learning_rate=0.25)
        optimizer = builders.build_optimizer(config, _model())
        self.assertIs(type(optimizer), optimizer_class)
        self.assertAllClose(optimizer.learning_rate, 0.25)
        if name in ("sgd", "momentum"):
            self.assertEqual(optimizer.momentum, 0.9 if name == "momentum" else 0.0)

    def test_cosine_ends_at_zero(self):
        config = TrainConfig(
            learning_rate_schedule="cosine", learning_rate=0.4, train_steps=100
        )
        rate = builders.build_learning_rate(config)
        self.assertAllClose([rate(s) for s in (0, 50, 100)], [0.4, 0.2, 0.0], atol=1e-7)

    def test_steps_divide_by_ten(self):
        config = TrainConfig(
            learning_rate_schedule="step",
            learning_rate=1.0,
            learning_rate_boundaries=(20, 10),
        )
        rate = builders.build_learning_rate(config)
        self.assertAllClose([rate(s) for s in (5, 15, 25)], [1.0, 0.1, 0.01])

    def test_float16_is_loss_scaled_in_a_loaded_model_too(self):
        optimizer = builders.build_optimizer(TrainConfig(), _model("mixed_float16"))
        self.assertIsInstance(optimizer, keras.optimizers.LossScaleOptimizer)


class BuildModelTest(tf.test.TestCase, parameterized.TestCase):
    def test_options_reach_vgg(self):
        config = TrainConfig(
            dataset="shapes",
            vgg_depth="B",
            width=0.1,
            norm="batch_norm",
            norm_after=(2,),
            hidden_units=(20,),
            dropout=0.25,
            l2_penalty=0.125,
            kernel_initializer="zeros",
            classifier_grid=3,
            activation="tanh",
        )
        model = builders.build_model(config, _small_shapes())
        self.assertLen(_of(model, keras.layers.Conv2D), 10)
        self.assertLen(_of(model, tfbn.BatchNorm), 1)
        self.assertEqual(_of(model, keras.layers.Dropout)[0].rate, 0.25)
        dense = _of(model, keras.layers.Dense)[0]
        self.assertEqual((dense.units, float(dense.kernel_regularizer.l2)), (2, 0.125))
        self.assertIs(dense.activation, keras.activations.tanh)
        # 3x3 places of 51 channels.
        self.assertAllEqual(dense.kernel, np.zeros((459, 2)))

    def test_options_reach_resnet(self):
        config = TrainConfig(
            model="resnet",
            dataset="shapes",
            resnet_depth=8,
            resnet_shortcut="projection",
            width=0.5,
            norm="group_norm",
        )
        model = builders.build_model(config, _small_shapes())
        convolutions = _of(model, keras.layers.Conv2D)
        self.assertEqual(
            [c.filters for c in convolutions if c.name.startswith("conv")],
            [8, 8, 8, 16, 16, 32, 32],
        )
        self.assertLen(convolutions, 9)
        self.assertLen(_of(model, GroupNorm), 9)
        initializer = convolutions[0].kernel_initializer
        self.assertIsInstance(initializer, keras.initializers.HeNormal)

    @parameterized.parameters(
        ("default", keras.activations.sigmoid), ("relu", keras.activations.relu)
    )
    def test_activation_of_the_mlp(self, name, function):
        config = TrainConfig(model="mlp", dataset="shapes", activation=name)
        model = builders.build_model(config, _small_shapes())
        found = {layer.activation for layer in _of(model, keras.layers.Activation)}
        self.assertEqual(found, {function})

    @parameterized.parameters(*NETWORKS)
    def test_kernel_scale_multiplies_all_kernels(self, name):
        options = {"model": name, "dataset": "shapes", **_SMALL[name]}
        dataset = data.gaussian() if name == "deep_linear" else _small_shapes()
        built = []
        for scale in (1.0, 2.5):
            keras.utils.set_random_seed(0)
            config = TrainConfig(kernel_scale=scale, **options)
            built.append(builders.build_model(config, dataset))
        names = {layer.name for layer in built[0].layers}
        scaled = set()
        for plain, other in zip(*(m.variables for m in built), strict=True):
            is_kernel = plain.name == "kernel"
            factor = np.float32(2.5) if is_kernel else np.float32(1.0)
            self.assertAllEqual(factor * plain.numpy(), other.numpy())
            if is_kernel:
                self.assertGreater(np.std(plain), 0.0)
                scaled.add(plain.path.split("/")[0])
        self.assertEqual(scaled, {n for n in names if _HAS_KERNEL.match(n)})
        self.assertEqual(built[0].input_shape[1:], dataset.input_shape)
        self.assertEqual(built[0].output_shape, (None, 10))

    @parameterized.named_parameters(
        ("images too small", "vgg", (28, 28, 1), 10, "32x32 .*28, 28, 1"),
        ("vectors", "resnet", (28,), 10, r"images .*\(28,\)"),
        ("another number of targets", "deep_linear", (4,), None, "vectors .*2 outputs"),
        ("regression", "mlp", (4,), None, "labels.*a regression"),
    )
    def test_network_that_does_not_fit_the_data(
        self, model, shape, num_classes, message
    ):
        inputs = np.zeros((3, *shape), np.float32)
        targets = np.zeros(3, np.int64) if num_classes else np.zeros((3, 2), np.float32)
        split = data.Split(inputs, targets)
        moment = np.ones(shape[-1], np.float32)
        dataset = data.Dataset("own", split, split, num_classes, moment, moment)
        config = TrainConfig(model=model, dataset="own.npz")
        with self.assertRaisesRegex(
            ValueError, f"^model={model} needs .*{message}"
        ) as caught:
            builders.build_model(config, dataset)
        self.assertIn("dataset=own.npz", str(caught.exception))


class BuildBatchesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("iid", data.IIDBatches, {}),
        ("class_biased", data.ClassBiasedBatches, {"images_per_label": 4}),
        ("domain_biased", data.DomainBiasedBatches, {"steps_per_domain": 3}),
    )
    def test_sampling(self, sampling, sampler_class, options):
        config = TrainConfig(
            dataset="shapes", sampling=sampling, batch_size=8, **options
        )
        shapes = _small_shapes()
        batches = builders.build_batches(config, shapes)
        self.assertIs(type(batches), sampler_class)
        self.assertEqual(batches.indices(0).shape, (8,))
        if sampling == "domain_biased":
            domains = [set(shapes.train.domains[batches.indices(s)]) for s in range(6)]
            self.assertEqual(domains, [{0}] * 3 + [{1}] * 3)
        if sampling == "class_biased":
            self.assertEqual(batches.images_per_label, 4)


@functools.cache
def _small_shapes():
    return data.shapes(num_train=200, num_test=20)


@functools.cache
def _model(dtype="float32"):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, dtype=dtype)])


def _of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


if __name__ == "__main__":
    tf.test.main()
