"""Options of a run that contradict each other.

For single options see arguments_test.py.
"""

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
    @parameterized.parameters(
        ("model", "vg", "mean 'vgg'?"),
        ("virtual_batch_size", 3, "must divide batch_size"),
        ("landscape_low", 5.0, "less than landscape_high"),
        ("landscape_points", 1, "at least 2"),
        ("kernel_initializer", "he_norml", "mean 'he_normal'?"),
        ("hidden_units", (8, 0), "a list of integers"),
        ("norm_after", 9, "a list of integers"),
        ("learning_rate_boundaries", (5,), "schedule=step"),
        ("rmax", math.inf, "must be finite"),
    )
    def test_refused(self, option, value, rule):
        self.assert_refused(TrainConfig, option, value, rule)

    @parameterized.parameters(*_CONTRADICTIONS)
    def test_contradiction(self, options, message):
        with self.assertRaises(ValueError) as caught:
            TrainConfig(**options)
        rule, _, received = str(caught.exception).partition("Received: ")
        self.assertIn(message, received)
        self.assertIn(list(options)[0], rule)
        self.assertRegex(rule, "must|needs|goes with")

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
