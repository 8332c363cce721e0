"""Tests of TrainConfig: its options, what applies to what, flags and differences."""

import dataclasses

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.experiment import examples
from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib
from tfbn.experiment.norms import NORMS
from tfbn.models.registry import NETWORKS

_OPTIONS = config_lib.OPTIONS


class TrainConfigTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_field_for_each_option(self):
        config = TrainConfig()
        self.assertEqual([f.name for f in dataclasses.fields(config)], [*_OPTIONS])
        for name, option in _OPTIONS.items():
            self.assertEqual(getattr(config, name), option.default)
            self.assertRegex(option.help, r"^.{8,}\.$")
        with self.assertRaises(dataclasses.FrozenInstanceError):
            config.seed = 3
        with self.assertRaisesRegex(TypeError, "'lerning_rate'"):
            TrainConfig(lerning_rate=0.1)

    @parameterized.parameters(*_OPTIONS)
    def test_refuses_a_value_of_another_type(self, name):
        with self.assertRaisesRegex(ValueError, f"^{name} must .*Received: .*{name}="):
            TrainConfig(**{name: object()})

    @parameterized.parameters(*_OPTIONS)
    def test_refuses_a_value_that_breaks_the_rule(self, name):
        value = examples.wrong(_OPTIONS[name])
        if value is None:
            self.skipTest("any value of its type will do")
        with self.assertRaisesRegex(ValueError, f"^{name} must .*Received: .*{name}="):
            TrainConfig(**{name: value})

    def test_takes_numbers_of_numpy_and_lists(self):
        config = TrainConfig(
            batch_size=np.int64(8),
            learning_rate=np.float32(0.5),
            hidden_units=[4, np.int32(5)],
            deterministic=np.bool_(True),
        )
        same = TrainConfig(
            batch_size=8, learning_rate=0.5, hidden_units=(4, 5), deterministic=True
        )
        self.assertEqual(config, same)

    @parameterized.named_parameters(
        ("loss and layers", {"model": "deep_linear"}, "vectors .*dataset=cifar10"),
        ("regression", {"dataset": "gaussian"}, "images .*vgg, dataset=gaussian"),
        ("domains", {"sampling": "domain_biased"}, "domains, such as shapes"),
        (
            "labels",
            {"sampling": "class_biased", "model": "deep_linear", "dataset": "gaussian"},
            "labels, such as cifar10.*dataset=gaussian",
        ),
        ("boundaries", {"learning_rate_schedule": "step"}, r"boundaries=\(\)"),
        ("landscape", {"landscape_low": 4.0}, "landscape_low=4.0, landscape_high=4.0"),
        ("theorem", {"theory_every": 5}, "theory_every=5, norm=batch_renorm"),
        (
            "renorm",
            {"renorm_every": 5, "norm": "l1"},
            "layers that renormalise: norm=batch_renorm. .*renorm_every=5, norm=l1",
        ),
        (
            "averages",
            {"recalibration_batches": 2, "norm": "group_norm"},
            "recalibration_batches=2, norm=group_norm",
        ),
        (
            "theorem of virtual batches",
            {"virtual_batch_size": 4, "theory_every": 5, "norm": "batch_norm"},
            "virtual_batch_size=4, theory_every=5",
        ),
        (
            "second network",
            {"replication_every": 5, "model": "x.keras"},
            "second model.*replication_every=5, model=x.keras",
        ),
        ("initializer", {"kernel_initializer": "he_norml"}, "mean 'he_normal'"),
        ("network", {"model": "VGG16"}, "'vgg', .*or a .keras file.*mean 'vgg'"),
        ("norm", {"norm": "batchnorm"}, "norm='batchnorm'. Did you mean 'batch_norm'"),
    )
    def test_contradiction(self, options, message):
        with self.assertRaisesRegex(ValueError, message) as caught:
            TrainConfig(**options)
        self.assertRegex(str(caught.exception), "(must|needs) .*Received: ")


class NotTakenTest(tf.test.TestCase, parameterized.TestCase):
    """An option that what is chosen does not take is refused."""

    def test_each_option_that_does_not_apply(self):
        for choice, names in {
            "norm": NORMS.names,
            "model": (*NETWORKS.names, "own.keras"),
            "optimizer": ("sgd", "momentum", "adam", "rmsprop"),
            "learning_rate_schedule": ("constant", "cosine"),
            "sampling": ("iid", "class_biased"),
            "dataset": ("cifar10", "shapes", "cifar100", "own.npz"),
        }.items():
            for value in names:
                chosen = {choice: value, **_with(choice, value)}
                inert = config_lib.not_taken(chosen)
                config = TrainConfig(**chosen)  # defaults are no difference
                flags = "\n".join(config_lib.to_flags(config))
                for name in inert:
                    self.assertFalse(config.takes(name))
                    self.assertNotIn(f"--{name}=", flags)
                    with self.assertRaisesRegex(
                        ValueError, f"^{name} is not an option of .*Received: {name}="
                    ):
                        TrainConfig(**chosen | {name: examples.other(_OPTIONS[name])})

    def test_message(self):
        with self.assertRaises(ValueError) as caught:
            TrainConfig(norm="group_norm", norm_momentum=0.5)
        self.assertEqual(
            str(caught.exception),
            "norm_momentum is not an option of norm=group_norm. Received: "
            "norm_momentum=0.5, norm=group_norm, which takes norm_epsilon, "
            "norm_groups.",
        )

    def test_a_loaded_model_takes_no_norm_nor_its_options(self):
        for options in ({"norm": "l1"}, {"norm_epsilon": 0.5}, {"width": 2.0}):
            with self.assertRaisesRegex(ValueError, "option of model=own.keras"):
                TrainConfig(model="own.keras", **options)


class FlagsTest(tf.test.TestCase, parameterized.TestCase):
    def test_flags_name_each_option_that_applies_once(self):
        config = TrainConfig(hidden_units=(3, 4))
        names = [f.removeprefix("--").partition("=")[0] for f in _flags(config)]
        self.assertEqual(names, [name for name in _OPTIONS if config.takes(name)])
        self.assertContainsSubset(
            ["--hidden_units=3,4", "--norm_after=", "--progress=true"], _flags(config)
        )

    @parameterized.parameters(
        ("vgg", "glorot_uniform"), ("resnet", "he_normal"), ("mlp", "glorot_uniform")
    )
    def test_default_initializer_is_written_by_its_name(self, model, initializer):
        flags = _flags(TrainConfig(model=model))
        self.assertIn(f"--kernel_initializer={initializer}", flags)


def _flags(config):
    return config_lib.to_flags(config)


def _with(choice, value):
    """What a value of an option goes with."""
    if value == "deep_linear":
        return {"dataset": "gaussian"}
    return {"dataset": "shapes"} if choice == "sampling" else {}


if __name__ == "__main__":
    tf.test.main()
