"""Tests of tfbn.experiment.strategies, and of its options."""

import os
import tempfile

import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils  # noqa: F401  (before TensorFlow starts)
from tfbn import data
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment import builders


def _config(**options):
    defaults = {"model": "mlp", "dataset": "shapes", "batch_size": 32}
    return TrainConfig(**defaults | options)


class StrategiesTest(tf.test.TestCase, parameterized.TestCase):
    def test_model_and_optimizer_are_on_all_replicas(self):
        # Built, not run: another strategy of this process may have run already.
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        config = _config(
            strategy="mirrored",
            logical_cpus=2,
            synchronized=True,
            optimizer="momentum",
            run_dir=os.path.join(folder, "run"),
        )
        trainer = build_trainer(config, data.shapes(num_train=64, num_test=20))
        for variable in [*trainer.model.variables, *trainer._parts.optimizer.variables]:
            self.assertLen(variable.value.values, 2)
        norms = [i for i in trainer.model.layers if hasattr(i, "synchronized")]
        self.assertNotEmpty(norms)
        self.assertTrue(all(layer.synchronized for layer in norms))

    def test_one_strategy_in_a_process(self):
        config = _config(strategy="mirrored", logical_cpus=2)
        self.assertIs(*(builders.build_strategy(config) for _ in range(2)))
        self.assertIsNone(builders.build_strategy(_config()))

    @parameterized.parameters(
        (
            {"strategy": "mirrored", "logical_cpus": 3},
            r"before TensorFlow starts\. Received: logical_cpus=3.* started with 2\.",
        ),
        ({"logical_cpus": 2}, "logical_cpus is not an option of strategy=none"),
        ({"strategy": "tpu"}, r"needs a TPU.* Received: tpu=''.* TensorFlow says: "),
        (
            {"synchronized": True, "virtual_batch_size": 4},
            "Received: virtual_batch_size=4, synchronized=True",
        ),
    )
    def test_refusals(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            builders.build_strategy(_config(**options))


if __name__ == "__main__":
    tf.test.main()
