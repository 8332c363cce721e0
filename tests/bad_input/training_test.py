"""Bad options of a run, and options that contradict each other."""

import functools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.bad_input import base
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment import config as config_lib

_SHAPES = functools.partial(TrainConfig, dataset="shapes")

_ROWS = [
    *base.rows(TrainConfig, "model", "mean 'vgg'?", "vg", "VGG16"),
    *base.rows(TrainConfig, "norm", "mean 'batch_norm'?", "batchnorm", "BatchNorm"),
    *base.rows(TrainConfig, "norm", "must be one of 'none'", None, 3, ["l1"], ""),
    *base.rows(TrainConfig, "dataset", "mean 'cifar10'?", "cifar"),
    *base.rows(TrainConfig, "optimizer", "mean 'sgd'?", "sdg"),
    *base.rows(TrainConfig, "diagnostics_spacing", "mean 'linear'?", "lin"),
    *base.rows(TrainConfig, "on_nonfinite", "must be one of 'stop'", True),
    *base.rows(TrainConfig, "jit_compile", "must be one of 'auto'", True, None),
    *base.rows(TrainConfig, "dtype_policy", "mean 'mixed_float16'?", "mixedfloat16"),
    *base.rows(TrainConfig, "activation", "mean 'relu'?", "rellu", "ReLU"),
    *base.rows(TrainConfig, "activation", "one of 'default'", "elu", None),
    *base.rows(TrainConfig, "kernel_scale", "greater than 0", 0.0, -1),
    *base.rows(TrainConfig, "kernel_scale", "must be finite", math.inf),
    *base.rows(TrainConfig, "classifier_grid", "at least 0", -7),
    *base.rows(TrainConfig, "classifier_grid", "must be an integer", (7, 7), None),
    *base.rows(TrainConfig, "virtual_batch_size", "at least 0", -2),
    *base.rows(TrainConfig, "virtual_batch_size", "must be an integer", None, 0.5),
    *base.rows(TrainConfig, "virtual_batch_size", "must divide batch_size", 3, 256),
    *base.rows(TrainConfig, "eval_in_training_mode", "True or False", 1, None),
    *base.rows(TrainConfig, "training_mode_batch_size", "at least 1", 0),
    *base.rows(TrainConfig, "width", "greater than 0", 0.0, -1),
    *base.rows(TrainConfig, "width", "must be finite", math.nan, math.inf, 10**400),
    *base.rows(TrainConfig, "width", "must be a number", "1.0", None, True, [1.0]),
    *base.rows(TrainConfig, "hidden_units", "a list of integers", (8, 0), 8, "8", None),
    *base.rows(TrainConfig, "norm_after", "a list of integers", (1.5,), (True,), (-1,)),
    *base.rows(TrainConfig, "rmax", "at least 1", 0.5),
    *base.rows(TrainConfig, "rmax", "must be finite", math.inf),
    *base.rows(TrainConfig, "dmax", "at least 0", -1.0),
    *base.rows(TrainConfig, "norm_momentum", "at least 0 and at most 1", 1.5),
    *base.rows(TrainConfig, "norm_epsilon", "greater than 0", 0.0),
    *base.rows(TrainConfig, "dropout", "at least 0 and less than 1", 1.0),
    *base.rows(TrainConfig, "l2_penalty", "at least 0", -0.1),
    *base.rows(TrainConfig, "batch_size", "at least 1", 0, -128),
    *base.rows(
        TrainConfig, "batch_size", "must be an integer", 12.5, "128", None, True
    ),
    *base.rows(TrainConfig, "batch_size", "must be an integer", np.array([8])),
    *base.rows(TrainConfig, "batch_size", "at most", 10**30),
    *base.rows(TrainConfig, "train_steps", "at least 1", -3),
    *base.rows(TrainConfig, "train_steps", "must be an integer", 1e3, "1e3"),
    *base.rows(TrainConfig, "train_steps", "at most", 2**63),
    *base.rows(TrainConfig, "learning_rate", "greater than 0", 0.0, -0.1),
    *base.rows(TrainConfig, "learning_rate", "must be a number", tf.constant(0.1)),
    *base.rows(TrainConfig, "seed", "at least 0", -1),
    *base.rows(TrainConfig, "seed", "must be an integer", 0.0),
    *base.rows(TrainConfig, "deterministic", "True or False", "yes", 1, None),
    *base.rows(TrainConfig, "data_dir", "must be a string", 3, None, b"data"),
    *base.rows(TrainConfig, "run_dir", "must be a string", ["runs"]),
    *base.rows(TrainConfig, "kernel_initializer", "mean 'he_normal'?", "he_norml"),
    *base.rows(TrainConfig, "kernel_initializer", "must be a string", None, 3),
    *base.rows(TrainConfig, "kernel_initializer", "keras.initializers", "xavierr", ""),
    *base.rows(TrainConfig, "landscape_points", "at least 2", 1),
    *base.rows(TrainConfig, "landscape_low", "less than landscape_high", 4.0, 5.0),
    *base.rows(TrainConfig, "learning_rate_boundaries", "schedule=step", (5,)),
]

# `(options, what the message says)`.
_CONTRADICTIONS = [
    ({"model": "deep_linear"}, "model=deep_linear, dataset=cifar10"),
    ({"dataset": "gaussian"}, "model=vgg, dataset=gaussian"),
    ({"dataset": "mnist"}, "model=vgg, dataset=mnist"),
    ({"sampling": "domain_biased"}, "sampling=domain_biased, dataset=cifar10"),
    (
        {"sampling": "class_biased", "model": "deep_linear", "dataset": "gaussian"},
        "sampling=class_biased, dataset=gaussian",
    ),
    ({"learning_rate_schedule": "step"}, "learning_rate_boundaries=()"),
    (
        {"activation": "tanh", "model": "deep_linear", "dataset": "gaussian"},
        "activation=tanh, model=deep_linear",
    ),
    ({"classifier_grid": 7, "model": "mlp"}, "classifier_grid=7, model=mlp"),
    ({"virtual_batch_size": 4, "norm": "none"}, "size=4, norm=none"),
    ({"virtual_batch_size": 4, "norm": "noise_only"}, "size=4, norm=noise_only"),
    (
        {"virtual_batch_size": 4, "eval_in_training_mode": True},
        "virtual_batch_size=4, training_mode_batch_size=50",
    ),
    (
        {"virtual_batch_size": 4, "theory_every": 5, "norm": "batch_norm"},
        "virtual_batch_size=4, theory_every=5",
    ),
    ({"theory_every": 5}, "theory_every=5, norm=batch_renorm"),
    ({"replication_every": 5, "model": "mlp"}, "replication_every=5, model=mlp"),
    (
        {"replication_every": 5, "replication_convolutions": ()},
        "replication_convolutions=()",
    ),
]


class TrainConfigTest(base.BadInputTest):
    @parameterized.parameters(*_ROWS)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))

    @parameterized.parameters(*_CONTRADICTIONS)
    def test_contradiction(self, options, message):
        with self.assertRaises(ValueError) as caught:
            TrainConfig(**options)
        rule, _, received = str(caught.exception).partition("Received: ")
        self.assertIn(message, received)
        self.assertIn(list(options)[0], rule)
        self.assertRegex(rule, "must|needs|goes with")

    @parameterized.parameters(
        *base.rows(build_trainer, "config", "must be a TrainConfig", None, "vgg", {})
    )
    def test_no_config(self, *row):
        self.assert_refused(base.Row(*row))

    def test_unknown_option(self):
        with self.assertRaisesRegex(TypeError, "'lerning_rate'"):
            TrainConfig(lerning_rate=0.1)

    def test_not_refused(self):
        config = _SHAPES(
            batch_size=np.int64(8),
            learning_rate=np.float32(0.5),
            hidden_units=[4, np.int32(5)],
            deterministic=np.bool_(True),
        )
        self.assertEqual(
            config,
            _SHAPES(
                batch_size=8,
                learning_rate=0.5,
                hidden_units=(4, 5),
                deterministic=True,
            ),
        )
        self.assertIn("--deterministic=true", config_lib.to_flags(config))


if __name__ == "__main__":
    tf.test.main()
