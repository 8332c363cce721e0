"""Tests of training a user's own model on a user's own data, from files."""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import data
from tfbn import experiment
from tfbn.experiment import TrainConfig
from tfbn.experiment import model_files
from tfbn.recording import records


class OwnFilesTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(testing_utils.graphs_as_traced())
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def path(self, name):
        return os.path.join(self.folder, name)

    def config(self, **options):
        values = {
            "model": self.path("own.keras"),
            "dataset": self.path("own.npz"),
            "run_dir": self.path("run"),
            "batch_size": 4,
            "train_steps": 3,
            "progress": False,
        }
        return TrainConfig(**values | options)

    def save(self, activation=None, outputs=3, **arrays):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(12, 5)).astype("float32"), np.arange(12) % 3
        arrays = {"x": x, "y": y, "x_test": x[:6], "y_test": y[:6]} | arrays
        np.savez(
            self.path("own.npz"), **{k: v for k, v in arrays.items() if v is not None}
        )
        keras.utils.set_random_seed(0)
        layers = [keras.layers.BatchNormalization(), keras.layers.Dense(outputs)]
        if activation:
            layers.append(keras.layers.Activation(activation))
        model = keras.Sequential([keras.Input((5,)), *layers])
        model.save(self.path("own.keras"))
        return model

    def test_trains_from_the_weights_of_the_file_with_diagnostics(self):
        model = self.save()
        trainer = experiment.build_trainer(
            self.config(ics_every=1, learning_rate=1e-9, theory_every=2)
        )
        for one, other in zip(model.weights, trainer.model.weights, strict=True):
            self.assertAllEqual(one, other)
        evaluation = trainer.train()
        kinds = {record["kind"] for record in records.read_records(trainer.run_dir)}
        self.assertEqual(kinds, {"train", "eval", "ics", "theory"})
        # The gammas of a loaded model are trained, too, but hardly at this rate.
        saved = np.load(self.path("own.npz"))
        logits = trainer.model(saved["x_test"]).numpy().astype("float64")
        accuracy = np.mean(np.argmax(logits, 1) == saved["y_test"])
        self.assertAllClose(evaluation["accuracy"], accuracy)

    def test_probabilities_give_the_loss_of_the_same_logits(self):
        losses = []
        for activation in (None, "softmax"):
            self.save(activation)
            run_dir = self.path(f"run_{activation}")
            trainer = experiment.build_trainer(self.config(run_dir=run_dir))
            losses.append(trainer.train()["loss"])
        self.assertAllClose(*losses, rtol=1e-5)

    def test_regression(self):
        y = np.random.default_rng(1).normal(size=12)
        self.save(outputs=1, y=y, y_test=y[:6])
        evaluation = experiment.build_trainer(self.config()).train()
        self.assertEqual(list(evaluation), ["loss"])

    def test_refuses_data_without_a_test_split_and_outputs_that_do_not_fit(self):
        self.save(x_test=None, y_test=None)
        with self.assertRaisesRegex(ValueError, "test split .*own.npz"):
            experiment.build_trainer(self.config())
        self.save(outputs=2)
        with self.assertRaisesRegex(
            ValueError, r"model must map inputs of shape \(5,\) to .*\(3,\).*\(2,\)"
        ):
            experiment.build_trainer(self.config())
        with self.assertRaisesRegex(ValueError, r"takes inputs of shape \(None, 5\)"):
            model_files.check_fits(
                experiment.load_model(self.path("own.keras")),
                data.gaussian(num_examples=5, units=4),
            )

    def test_refuses_a_file_that_is_not_a_safe_model(self):
        with self.assertRaisesRegex(ValueError, "model must be .*does not exist"):
            experiment.load_model(self.path("none.keras"))
        path = self.path("text.keras")
        with open(path, "w", encoding="utf-8") as file:
            file.write("no model")
        with self.assertRaisesRegex(ValueError, f"Received: {path}. ") as caught:
            experiment.load_model(path)
        self.assertNotIn("\n", str(caught.exception))
        inputs = keras.Input((5,))
        model = keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs))
        path = self.path("lambda.keras")
        model.save(path)
        with self.assertRaisesRegex(ValueError, "[Ll]ambda"):
            experiment.load_model(path)

    @parameterized.parameters(None, "vgg", 3)
    def test_refuses_what_is_not_a_config(self, config):
        with self.assertRaisesRegex(ValueError, "config must be a TrainConfig.*Receiv"):
            experiment.build_trainer(config)

    def test_run_directory_is_named_after_the_files(self):
        self.save()
        trainer = experiment.build_trainer(self.config(run_dir=""))
        self.assertRegex(trainer.run_dir, r"^runs/own_own_\d{8}-\d{6}$")


if __name__ == "__main__":
    tf.test.main()
