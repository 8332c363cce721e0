"""Tests of tfbn.training.trainer: whole runs of small networks."""

import contextlib
import dataclasses
import functools
import io
import os
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import data
from tfbn import models
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.recording import records
from tfbn.training import Trainer
from tfbn.training.nonfinite import NonFiniteError

# float32 steps in another order of sums.
RTOL = 1e-4


class TrainerTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Few images and one hidden layer: what is tested is the loop.
        cls._shapes = data.shapes(num_train=256, num_test=90)

    def setUp(self):
        super().setUp()

        def dataset(config):
            return self._shapes if config.dataset == "shapes" else data.gaussian()

        mlp = functools.partial(models.mlp, hidden_units=(50,))
        self.enter_context(mock.patch.object(builders, "build_dataset", dataset))
        self.enter_context(mock.patch.object(models, "mlp", mlp))

    def test_gradient_descent_is_that_of_numpy(self):
        trainer = self._trainer(_linear(train_steps=5, learning_rate=1e-5))
        weights = [w.astype("float64") for w in trainer.model.get_weights()]
        gaussian = data.gaussian()
        x, y = gaussian.train.inputs, gaussian.train.targets
        losses = []
        for _ in range(5):
            a, b = weights
            error = x @ a @ b - y
            losses.append(0.5 * np.sum(error**2))
            weights = [a - 1e-5 * x.T @ error @ b.T, b - 1e-5 * (x @ a).T @ error]
        trainer.train()
        for variable, expected in zip(
            trainer.model.get_weights(), weights, strict=True
        ):
            self.assertAllClose(variable, expected, rtol=RTOL, atol=1e-6)
        _, recorded = records.column(self._records(trainer, "train"), "loss")
        self.assertAllClose(recorded, losses, rtol=RTOL)

    def test_classifier_learns(self):
        trainer = self._trainer(_mlp(train_steps=200, learning_rate=0.01))
        evaluation = trainer.train()
        _, losses = records.column(self._records(trainer, "train"), "loss")
        self.assertLess(losses[-1], 0.3 * losses[0])
        self.assertEqual(set(evaluation), {"loss", "accuracy"})

    def test_evaluation_is_that_of_the_whole_split_in_inference_mode(self):
        # 90 examples in batches of 40: the last one is smaller.
        trainer = self._trainer(_mlp(train_steps=3, eval_batch_size=40))
        evaluation = trainer.train()
        x = self._shapes.standardize(self._shapes.test.inputs)
        logits = np.asarray(trainer.model(x, training=False), "float64")
        labels = self._shapes.test.targets
        log_sum = np.log(np.sum(np.exp(logits), axis=1))
        loss = np.mean(log_sum - logits[np.arange(90), labels])
        self.assertAllClose(evaluation["loss"], loss, rtol=RTOL)
        accuracy = np.mean(np.argmax(logits, axis=1) == labels)
        self.assertAllClose(evaluation["accuracy"], accuracy, rtol=1e-6)
        (record,) = self._records(trainer, "eval")
        self.assertEqual(record, {"step": 3, "kind": "eval", **evaluation})

    def test_loss_that_is_not_finite_is_recorded_and_the_run_goes_on(self):
        options = {"train_steps": 4, "learning_rate": 1e30, "on_nonfinite": "ignore"}
        watching = {
            "ics_every": 2,
            "landscape_every": 2,
            "landscape_points": 3,
            "landscape_directions": "both",
            "activations_every": 2,
            "curvature_every": 2,
            "curvature_iterations": 3,
            "eval_in_training_mode": True,
        }
        trainer = self._trainer(_linear(**options, **watching))
        trainer.train()
        self.assertEqual(trainer.step, 4)
        (*_, shift) = self._records(trainer, "ics")
        self.assertTrue(np.isnan(shift["total"]["distance"]))
        (*_, curvature) = self._records(trainer, "curvature")
        self.assertTrue(np.isnan(curvature["eigenvalue"]))
        (*_, landscape) = self._records(trainer, "landscape")
        self.assertTrue(np.isnan(landscape["beta"]))

    def test_stops_where_the_loss_is_not_finite(self):
        options = {"learning_rate": 1e30, "checkpoint_every": 1, "log_every": 3}
        trainer = self._trainer(_linear(train_steps=5, **options))
        with self.assertRaisesRegex(
            NonFiniteError,
            r"The loss is inf at step 1; first not finite: the output of linear2\. The "
            r"newest checkpoint, of step 1, .* --on_nonfinite=skip",
        ):
            trainer.train()
        self.assertEqual(trainer.step, 1)
        (record,) = self._records(trainer, "not_finite")
        self.assertEqual(
            record,
            {
                "step": 1,
                "kind": "not_finite",
                "loss": np.inf,
                "layer": "linear2",
                "what": "output",
            },
        )
        self.assertEmpty([r for r in self._records(trainer, "train") if r["step"] > 1])

    def test_goes_on_from_a_stop_if_told_to_skip(self):
        options = {"learning_rate": 1e30, "train_steps": 4, "checkpoint_every": 1}
        trainer = self._trainer(_linear(**options))
        with self.assertRaises(NonFiniteError):
            trainer.train()
        weights = trainer.model.get_weights()
        config = dataclasses.replace(trainer.config, on_nonfinite="skip")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            again = Trainer(dataclasses.replace(config, progress=True))
            again.train()
        self.assertAllEqual(weights, again.model.get_weights())
        self.assertIn("goes on from step 1 (of 4)", out.getvalue())
        self.assertIn("Skipped 3 steps: loss or gradients not", out.getvalue())
        self.assertEqual(
            [r["skipped"] for r in self._records(again, "train")[1:]], [1, 2, 3]
        )
        with self.assertRaisesRegex(ValueError, r"--on_nonfinite=stop \(the run: skip"):
            Trainer(dataclasses.replace(config, on_nonfinite="stop"))

    @parameterized.parameters("stop", "skip")
    def test_weights_that_are_not_finite_are_no_checkpoint(self, on_nonfinite):
        # The gradients are finite, and the update takes the weights out of range.
        trainer = self._trainer(
            _linear(
                learning_rate=1e36,
                train_steps=4,
                checkpoint_every=1,
                on_nonfinite=on_nonfinite,
            )
        )
        with self.assertRaisesRegex(
            NonFiniteError,
            r"weights are not finite after step 1; .*linear1/kernel\. There",
        ):
            trainer.train()
        checkpoints = os.path.join(trainer.run_dir, "checkpoints")
        self.assertFalse(os.path.exists(checkpoints))

    def test_out_of_memory_is_one_line(self):
        pages = tf.errors.ResourceExhaustedError(None, None, "OOM\nwhen\nallocating")
        trainer = self._trainer(_linear(train_steps=2))
        with mock.patch.object(trainer._steps, "run", side_effect=pages):
            with self.assertRaisesRegex(
                MemoryError, r"^step 0 does not fit into memory\. Lower --batch_size,"
            ):
                trainer.train()
        self.assertNotIn("train", os.listdir(trainer.run_dir))

    def test_measurements_further_and_further_apart(self):
        trainer = self._trainer(
            _mlp(train_steps=30, activations_every=1, diagnostics_spacing="log")
        )
        trainer.train()
        steps = [r["step"] for r in self._records(trainer, "activations")]
        self.assertEqual(steps, [*range(20), 20, 22, 24, 26, 28])

    def test_simulated_update_is_that_of_gradient_descent(self):
        options = {"train_steps": 1, "ics_every": 1, "learning_rate": 1e-3}
        by_adam, by_sgd, simulated = (
            self._trainer(_linear(**options, **more))
            for more in (
                {"optimizer": "adam"},
                {"optimizer": "sgd"},
                {"optimizer": "adam", "ics_update": "sgd"},
            )
        )
        distances = []
        for trainer in (by_adam, by_sgd, simulated):
            trainer.train()
            (record,) = self._records(trainer, "ics")
            distances.append(record["total"]["distance"])
        self.assertAllClose(distances[1], distances[2], rtol=RTOL)
        self.assertGreater(abs(distances[0] / distances[1] - 1.0), 0.1)

    def test_costs_are_told_once(self):
        trainer = self._trainer(_mlp(train_steps=4, ics_every=2), progress=True)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            trainer.train()
        lines = out.getvalue().splitlines()
        (first,) = [line for line in lines if line.startswith("Measuring ")]
        self.assertRegex(
            first, r"ics every 2 steps; each about \d\.\d forward and back"
        )
        (last,) = [line for line in lines if line.startswith("Measured ")]
        self.assertRegex(last, r"ics 2 times, \d\.\d\d s each \(the first \d+\.\d s\)")

    def test_covariate_shift_is_that_of_the_optimizers_update(self):
        trainer = self._trainer(
            _linear(train_steps=1, ics_every=1, optimizer="adam", learning_rate=0.01)
        )
        a, b = (w.astype("float64") for w in trainer.model.get_weights())
        trainer.train()
        a_after = trainer.model.get_weights()[0].astype("float64")
        gaussian = data.gaussian()
        x, y = gaussian.train.inputs, gaussian.train.targets
        before = (x @ a).T @ (x @ a @ b - y)
        after = (x @ a_after).T @ (x @ a_after @ b - y)
        (record,) = self._records(trainer, "ics")
        self.assertEqual(record["step"], 0)
        first, second = record["layers"]
        self.assertEqual(first["distance"], 0.0)
        distance = np.linalg.norm(before - after)
        self.assertAllClose(second["distance"], distance, rtol=RTOL)
        self.assertAllClose(second["norm"], np.linalg.norm(before), rtol=RTOL)

    def test_steps_per_execution_makes_no_difference(self):
        one = self._trainer(_mlp(train_steps=7, steps_per_execution=1))
        many = self._trainer(_mlp(train_steps=7, steps_per_execution=5))
        one.train()
        many.train()
        self._assert_same_state(one, many)
        # Calls of 5 and of 2 steps, one trace.
        self.assertEqual(many._steps._run.experimental_get_tracing_count(), 1)

    def test_records_come_at_their_steps(self):
        trainer = self._trainer(
            _mlp(train_steps=25, log_every=10, eval_every=8, ics_every=12)
        )
        trainer.train()
        steps = {
            kind: [r["step"] for r in self._records(trainer, kind)]
            for kind in ("train", "eval", "ics")
        }
        self.assertEqual(
            steps, {"train": [10, 20, 25], "eval": [8, 16, 24, 25], "ics": [0, 12, 24]}
        )

    def test_recorded_bounds_follow_the_schedule(self):
        config = _mlp(
            norm="batch_renorm", train_steps=26, log_every=13, renorm_schedule="scaled"
        )
        trainer = self._trainer(config)
        trainer.train()
        # The paper's shape over 130 steps has its ramps end at 25 and 40; over 26: at
        # 5 and 8, from 1 on.
        for record in self._records(trainer, "train"):
            self.assertAllClose((record["rmax"], record["dmax"]), (3.0, 5.0))
        layer = next(
            la for la in trainer.model.layers if isinstance(la, tfbn.BatchRenorm)
        )
        self.assertEqual(int(layer.step), 26)

    def test_saved_model_is_the_trained_one(self):
        trainer = self._trainer(_mlp(norm="batch_renorm", train_steps=2))
        trainer.train()
        loaded = keras.models.load_model(os.path.join(trainer.run_dir, "model.keras"))
        for a, b in zip(loaded.variables, trainer.model.variables, strict=True):
            self.assertAllEqual(a.numpy(), b.numpy())

    @parameterized.parameters(
        ("mixed_bfloat16", "bfloat16"),
        ("mixed_float16", "float16"),
        ("float64", "float64"),
    )
    def test_dtype_policies(self, policy, compute_dtype):
        before = keras.config.dtype_policy()
        trainer = self._trainer(_mlp(train_steps=4, dtype_policy=policy, ics_every=3))
        evaluation = trainer.train()
        self.assertTrue(np.isfinite(evaluation["loss"]))
        layer = trainer.model.get_layer("dense1")
        self.assertEqual(layer.compute_dtype, compute_dtype)
        self.assertEqual(keras.config.dtype_policy(), before)

    def test_compiled_by_xla_it_is_the_same_run(self):
        plain = self._trainer(_mlp(train_steps=3, jit_compile="off"))
        compiled = self._trainer(_mlp(train_steps=3, jit_compile="on"))
        plain.train()
        compiled.train()
        for a, b in zip(plain.model.variables, compiled.model.variables, strict=True):
            self.assertAllClose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4)

    @parameterized.parameters(
        {"sampling": "class_biased", "images_per_label": 4},
        {"sampling": "domain_biased", "steps_per_domain": 1},
    )
    def test_biased_batches_reach_the_network(self, **options):
        trainer = self._trainer(_mlp(train_steps=2, **options))
        with mock.patch.object(trainer._steps, "run", wraps=trainer._steps.run) as run:
            trainer.train()
        indices = np.concatenate([call.args[0] for call in run.call_args_list])
        if options["sampling"] == "domain_biased":
            domains = self._shapes.train.domains[indices]
            self.assertEqual([set(row) for row in domains], [{0}, {1}])
        else:
            labels = self._shapes.train.targets[indices].reshape(2, -1, 4)
            self.assertAllEqual(labels, np.broadcast_to(labels[..., :1], labels.shape))

    def test_bad_batch_size_leaves_no_folder(self):
        config = _mlp(train_steps=2, batch_size=1000)
        with self.assertRaisesRegex(ValueError, "batch_size=1000"):
            self._trainer(config)
        self.assertEqual(os.listdir(self._folder), [])

    def _trainer(self, options, progress=False):
        self._folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        run_dir = os.path.join(self._folder, "run")
        return Trainer(TrainConfig(run_dir=run_dir, progress=progress, **options))

    def _records(self, trainer, kind):
        return records.read_records(trainer.run_dir, kind)

    def _assert_same_state(self, a, b):
        for one, other in zip(
            a.model.variables + a._optimizer.variables,
            b.model.variables + b._optimizer.variables,
            strict=True,
        ):
            self.assertAllEqual(one.numpy(), other.numpy())


def _linear(**options):
    return {
        "model": "deep_linear",
        "dataset": "gaussian",
        "norm": "none",
        "linear_depth": 2,
        "batch_size": 1000,
        "log_every": 1,
        **options,
    }


def _mlp(**options):
    return {
        "model": "mlp",
        "dataset": "shapes",
        "norm": "batch_norm",
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 0.01,
        **options,
    }


if __name__ == "__main__":
    tf.test.main()
