"""Tests of tfbn.experiment.build_trainer: what a config makes of a run."""

import contextlib
import io
import os
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import data
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.training import run_directory


class BuildTrainerTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._shapes = data.shapes(num_train=256, num_test=90)

    def setUp(self):
        super().setUp()
        self.enter_context(testing_utils.graphs_as_traced())
        self._folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def _trainer(self, **options):
        defaults = {"model": "mlp", "dataset": "shapes", "norm": "none"}
        defaults |= {"batch_size": 32, "run_dir": os.path.join(self._folder, "run")}
        config = TrainConfig(**{**defaults, "progress": False, **options})
        return build_trainer(config, self._shapes)

    def test_evaluation_is_that_of_the_test_split(self):
        # 90 examples in batches of 40: the last one is smaller.
        trainer = self._trainer(train_steps=3, eval_batch_size=40)
        evaluation = trainer.train()
        x = self._shapes.standardize(self._shapes.test.inputs)
        logits = np.asarray(trainer.model(x, training=False), "float64")
        labels = self._shapes.test.targets
        log_sum = np.log(np.sum(np.exp(logits), axis=1))
        loss = np.mean(log_sum - logits[np.arange(90), labels])
        accuracy = np.mean(np.argmax(logits, axis=1) == labels)
        expected = {"loss": loss, "accuracy": accuracy}
        self.assertAllClose(evaluation, expected, rtol=1e-4)

    @parameterized.parameters(
        (True, "Reading the data: gaussian.\nBuilding the network: deep_linear.\n"),
        (False, ""),
    )
    def test_a_terminal_is_told_what_takes_time(self, progress, said):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        options = {"model": "deep_linear", "linear_depth": 2, "dataset": "gaussian"}
        config = TrainConfig(run_dir=self._folder, progress=progress, **options)
        with (
            contextlib.redirect_stdout(terminal),
            mock.patch.dict(os.environ, TERM="xterm"),
        ):
            build_trainer(config)
        self.assertEqual(terminal.getvalue(), said)

    @parameterized.parameters(
        {"sampling": "class_biased", "images_per_label": 4},
        {"sampling": "domain_biased", "steps_per_domain": 1},
    )
    def test_sampling(self, **options):
        options |= {"eval_in_training_mode": True, "training_mode_batch_size": 8}
        trainer = self._trainer(**options)
        training, (test,) = (
            trainer._parts.source._batches,
            trainer._parts.evaluations.values(),
        )
        for batches, split in (
            (training, self._shapes.train),
            (test._batches, self._shapes.test),
        ):
            drawn = [batches.indices(step) for step in range(2)]
            if options["sampling"] == "domain_biased":
                self.assertEqual([set(split.domains[d]) for d in drawn], [{0}, {1}])
            else:
                labels = split.targets[drawn[0]].reshape(-1, 4)
                self.assertAllEqual(labels, labels[:, :1] * np.ones(4, int))

    # The test split has 90 examples.
    @parameterized.parameters((10, 9), (90, 1), (70, 1), (1, 40))
    def test_training_mode_takes_about_the_split_in_at_most_40_batches(self, size, num):
        trainer = self._trainer(
            eval_in_training_mode=True, training_mode_batch_size=size
        )
        evaluation = trainer._parts.evaluations["eval_training_mode"]
        self.assertEqual(evaluation._num_batches, num)

    @parameterized.parameters(
        ({"training_mode_batch_size": 91}, "number of examples, 90"),
        ({"training_mode_batch_size": 9, "sampling": "class_biased"}, "a multiple of"),
    )
    def test_batches_that_the_test_split_cannot_have(self, options, rule):
        size = options["training_mode_batch_size"]
        with self.assertRaisesRegex(
            ValueError, f"Received: training_mode_batch_size={size}.*{rule}"
        ):
            self._trainer(eval_in_training_mode=True, **options)

    @parameterized.parameters(
        ("mixed_bfloat16", "bfloat16"),
        ("mixed_float16", "float16"),
        ("float64", "float64"),
    )
    def test_dtype_policies(self, policy, compute_dtype):
        before = keras.config.dtype_policy()
        trainer = self._trainer(dtype_policy=policy)
        layer = trainer.model.get_layer("dense1")
        self.assertEqual(layer.compute_dtype, compute_dtype)
        self.assertEqual(keras.config.dtype_policy(), before)

    def test_default_run_dir_is_new_each_time(self):
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self._folder)
        first = self._trainer(run_dir="").run_dir
        self.assertRegex(first, r"^runs/shapes_mlp_none_\d{8}-\d{6}$")
        self.assertFalse(os.path.exists("runs"))
        unused = mock.patch.object(run_directory, "unused", lambda path: f"{path}-2")
        with unused:
            self.assertEndsWith(self._trainer(run_dir="").run_dir, "-2")

    def test_settings_are_the_flags(self):
        trainer = self._trainer(train_steps=1, norm="l1", data_dir="here")
        trainer.train()
        with open(f"{trainer.run_dir}/flags.cfg", encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertStartsWith(lines[0], "# Repeat this run: python scripts/train.py")
        self.assertContainsSubset(["--norm=l1", "--train_steps=1"], lines)
        self.assertEmpty([line for line in lines if line.startswith("--run_dir")])
        self._trainer(train_steps=1, norm="l1", data_dir="elsewhere")
        with self.assertRaisesRegex(ValueError, r"--norm=l2 \(the run: l1\)\."):
            self._trainer(train_steps=1, norm="l2")

    def test_a_bad_batch_size_leaves_no_folder(self):
        with self.assertRaisesRegex(ValueError, "batch_size=1000"):
            self._trainer(batch_size=1000)
        self.assertEqual(os.listdir(self._folder), [])


if __name__ == "__main__":
    tf.test.main()
