"""Tests of tfbn.training.config."""

import dataclasses

import tensorflow as tf
from absl.testing import parameterized

from tfbn.training import TrainConfig
from tfbn.training import config as config_lib


class TrainConfigTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (
            {"model": "vg"},
            "model must be one of .*Received: model='vg'. Did you mean 'vgg'",
        ),
        ({"norm": "batchnorm"}, "norm='batchnorm'. Did you mean 'batch_norm'"),
        ({"dataset": "cifar"}, "dataset='cifar'. Did you mean 'cifar10'"),
        ({"width": 0.0}, "width must be greater than 0. Received: width=0.0"),
        ({"width": float("nan")}, "width must be finite. Received: width=nan"),
        ({"hidden_units": (8, 0)}, "hidden_units must be at least 1. Received: .*=0"),
        ({"rmax": 0.5}, "rmax must be at least 1. Received: rmax=0.5"),
        ({"dmax": -1.0}, "dmax must be at least 0. Received: dmax=-1.0"),
        ({"batch_size": 0}, "batch_size must be at least 1. Received: batch_size=0"),
        ({"batch_size": 12.5}, "batch_size=12.5 of type float"),
        ({"train_steps": -3}, "train_steps=-3"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"norm_momentum": 1.5}, "norm_momentum must be .*at most 1. .*=1.5"),
        ({"optimizer": "sdg"}, "optimizer='sdg'. Did you mean 'sgd'"),
        ({"seed": -1}, "seed=-1"),
        ({"deterministic": "yes"}, "deterministic='yes'"),
        ({"data_dir": 3}, "data_dir=3"),
        ({"model": "deep_linear"}, "model=deep_linear, dataset=cifar10"),
        ({"dataset": "gaussian"}, "model=vgg, dataset=gaussian"),
        ({"dataset": "mnist"}, "dataset=mnist"),
        ({"sampling": "domain_biased"}, "dataset=cifar10"),
        (
            {
                "sampling": "class_biased",
                "model": "deep_linear",
                "dataset": "gaussian",
            },
            "sampling=class_biased needs labels",
        ),
        (
            {"landscape_low": 5.0},
            "landscape_low=5.0, landscape_high=4.0",
        ),
        ({"theory_every": 5}, "theory_every needs .*norm=batch_renorm"),
        (
            {"replication_every": 5, "model": "mlp"},
            "replication_every needs .*model=mlp",
        ),
        (
            {"replication_every": 5, "replication_convolutions": ()},
            "replication_convolutions must name",
        ),
        ({"diagnostics_spacing": "lin"}, "diagnostics_spacing='lin'"),
        ({"learning_rate_schedule": "step"}, r"learning_rate_boundaries=\[\]"),
        ({"learning_rate_boundaries": (5,)}, "learning_rate_schedule=constant"),
    )
    def test_bad_values_are_named(self, values, message):
        with self.assertRaisesRegex(ValueError, message):
            TrainConfig(**values)

    def test_every_option_has_a_help_text(self):
        for field in config_lib.fields():
            self.assertRegex(config_lib.help_of(field.name), r"^.{8,}\.$")

    def test_to_flags_names_every_field_once(self):
        flags = config_lib.to_flags(TrainConfig(hidden_units=(3, 4)))
        names = [flag.partition("=")[0] for flag in flags]
        self.assertEqual(names, [f"--{field.name}" for field in config_lib.fields()])
        self.assertIn("--hidden_units=3,4", flags)
        self.assertIn("--deterministic=false", flags)

    def test_it_cannot_be_changed(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            TrainConfig().seed = 3


if __name__ == "__main__":
    tf.test.main()
