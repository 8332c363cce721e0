"""Tests of tfbn.training.trainer: whole runs of small models."""

import contextlib
import io
import os
import signal
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tests.training import small
from tfbn import data
from tfbn.recording import records
from tfbn.training import NonFiniteError
from tfbn.training import Trainer

# float32 steps in another order of sums.
RTOL = 1e-4


class AsKerasTest(tf.test.TestCase, parameterized.TestCase):
    """Keras's own `train_on_batch` and `evaluate` are the reference."""

    @parameterized.parameters(
        ("functional", "arrays"),
        ("sequential", "arrays"),
        ("subclassed", "dataset"),
    )
    def test_a_run(self, model, batches):
        problem = small.problem(model)
        ours, theirs = problem.make(), problem.make()
        theirs.set_weights(ours.get_weights())
        theirs.name = "reference"  # Keras does not train a model named _...
        options = small.problem(model).options  # with metrics of its own
        theirs.compile(keras.optimizers.SGD(0.01, 0.9), **options)
        trainer = Trainer(
            ours,
            keras.optimizers.SGD(0.01, 0.9),
            batches=problem.batches(batches),
            run_dir=tempfile.mkdtemp(dir=self.get_temp_dir()),
            train_steps=6,
            log_freq=1,
            steps_per_execution=4,
            validation_data=(problem.x, problem.y),
            validation_batch_size=16,  # the last batch is smaller
            progress=False,
            **problem.options,
        )
        evaluation = trainer.train()
        batch = problem.batches("function")
        found = records.read_records(trainer.run_dir, "train")
        for step in range(6):
            theirs.reset_metrics()
            expected = theirs.train_on_batch(*batch(step), return_dict=True)
            expected |= {"step": step + 1, "learning_rate": 0.01}
            self.assertEqual(found[step].pop("kind"), "train")
            self.assertAllClose(found[step], expected, rtol=RTOL)
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            self.assertAllClose(one, other, rtol=RTOL, atol=1e-5)
        # In one batch: Keras weights those of another size wrongly in OUTPUT_loss.
        expected = theirs.evaluate(
            problem.x, problem.y, batch_size=small.SIZE, verbose=0, return_dict=True
        )
        self.assertAllClose(evaluation, expected, rtol=RTOL)

    def test_validation_data_as_a_dataset(self):
        problem = small.problem("sequential")
        both = tf.data.Dataset.from_tensor_slices((problem.x, problem.y)).batch(16)
        evaluations = []
        model = problem.make()
        for validation_data in ((problem.x, problem.y), both):
            model.set_weights([np.full(w.shape, 0.1) for w in model.weights])
            trainer = Trainer(
                model,
                "sgd",
                batches=problem.batches("arrays"),
                run_dir=tempfile.mkdtemp(dir=self.get_temp_dir()),
                train_steps=1,
                validation_data=validation_data,
                progress=False,
                **problem.options,
            )
            evaluations.append(trainer.train())
        self.assertAllClose(*evaluations, rtol=1e-6)
        self.assertIn("accuracy", evaluations[0])


class TrainerTest(tf.test.TestCase, parameterized.TestCase):
    def test_gradient_descent_is_that_of_numpy(self):
        trainer = self._trainer(self._linear(l2=0.5), "sgd", train_steps=5)
        kernel, losses = trainer.model.get_weights()[0].astype("float64"), []
        for step in range(5):
            x, y = self._batch(step)
            error = x @ kernel - y
            losses.append(np.sum(error**2) + 0.5 * np.sum(kernel**2))
            kernel -= 0.01 * (2.0 * x.T @ error + kernel)
        evaluation = trainer.train()
        found = trainer.model.get_weights()[0]
        self.assertAllClose(found, kernel, rtol=RTOL, atol=1e-6)
        _, recorded = records.column(self._records(trainer, "train"), "loss")
        self.assertAllClose(recorded, losses, rtol=RTOL)
        # A sum over all examples, without the penalty, whatever the batch size.
        error = self._x.astype("float64") @ kernel - self._y
        self.assertAllClose(evaluation, {"loss": np.sum(error**2)}, rtol=RTOL)
        (record,) = self._records(trainer, "eval")
        self.assertEqual(record, {"step": 5, "kind": "eval", **evaluation})

    def test_stops_where_the_loss_is_not_finite(self):
        trainer = self._diverging(train_steps=5, log_freq=3, checkpoint_freq=1)
        with self.assertRaisesRegex(
            NonFiniteError,
            r"The loss is (nan|inf) at step 1; first not finite: the output of "
            r"second\. The newest checkpoint, of step 1, .* on_nonfinite=skip",
        ):
            trainer.train()
        self.assertEqual(trainer.step, 1)
        place = {"layer": "second", "what": "output"}
        (record,) = self._records(trainer, "not_finite")
        self.assertFalse(
            np.isfinite(record.pop("loss"))
        )  # which, the processor decides
        self.assertEqual(record, {"step": 1, "kind": "not_finite", **place})
        self.assertEmpty([r for r in self._records(trainer, "train") if r["step"] > 1])
        weights = trainer.model.get_weights()

        options = {"log_freq": 3, "checkpoint_freq": 1, "run_dir": trainer.run_dir}
        again = self._diverging(
            train_steps=5, on_nonfinite="skip", progress=True, **options
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            again.train()
        for one, other in zip(weights, again.model.get_weights(), strict=True):
            self.assertAllEqual(one, other)
        self.assertIn("resumes at step 1 (of 5)", out.getvalue())
        self.assertIn("Skipped 4 steps: loss or gradients not", out.getvalue())
        skipped = [r["skipped"] for r in self._records(again, "train")]
        self.assertEqual(skipped, [2, 4])
        with self.assertRaisesRegex(ValueError, r"--on_nonfinite=stop \(the run: skip"):
            self._diverging(train_steps=5, **options)

    def test_not_finite_and_ignored(self):
        diagnostics = {"ics": 2, "landscape": 2, "activations": 2, "curvature": 2}
        trainer = self._diverging(
            train_steps=4, on_nonfinite="ignore", diagnostics=diagnostics
        )
        trainer.train()
        self.assertEqual(trainer.step, 4)
        for kind, value in (("curvature", "eigenvalue"), ("landscape", "beta")):
            *_, last = self._records(trainer, kind)
            self.assertTrue(np.isnan(last[value]))

    @parameterized.parameters("stop", "skip")
    def test_weights_that_are_not_finite_are_no_checkpoint(self, on_nonfinite):
        # The gradients are finite, and the update takes the weights out of range.
        trainer = self._diverging(
            1e38, train_steps=4, checkpoint_freq=1, on_nonfinite=on_nonfinite
        )
        message = r"weights are not finite after step 1; .*first/kernel\. There"
        with self.assertRaisesRegex(NonFiniteError, message):
            trainer.train()
        self.assertNotIn("checkpoints", os.listdir(trainer.run_dir))

    def test_out_of_memory_is_one_line(self):
        pages = tf.errors.ResourceExhaustedError(None, None, "OOM\nwhen\nallocating")
        trainer = self._trainer(self._linear(), "sgd", train_steps=2)
        with mock.patch.object(trainer._parts.steps, "run", side_effect=pages):
            with self.assertRaisesRegex(
                MemoryError, r"^step 0 does not fit into memory\. Lower the batch size,"
            ):
                trainer.train()

    def test_costs_are_printed_once(self):
        trainer = self._trainer(
            self._linear(), "sgd", train_steps=4, diagnostics={"ics": 2}, progress=True
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            trainer.train()
        lines = out.getvalue().splitlines()
        (first,) = [line for line in lines if line.startswith("Measuring ")]
        self.assertRegex(first, r"ics every 2 steps; each about \d\.\d forward and bac")
        (last,) = [line for line in lines if line.startswith("Measured ")]
        self.assertRegex(last, r"ics 2 times, \d\.\d\d s each \(the first \d+\.\d s\)")

    def test_what_an_interrupted_run_says_begins_a_line(self):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        trainer = self._trainer(
            self._linear(),
            "sgd",
            train_steps=4,
            validation_freq=2,
            evaluations={"own": lambda: signal.raise_signal(signal.SIGTERM) or {}},
            progress=True,
        )
        with (
            contextlib.redirect_stdout(terminal),
            contextlib.redirect_stderr(terminal),
            mock.patch.dict(os.environ, TERM="xterm"),
            self.assertRaises(SystemExit),
        ):
            trainer.train()
        bar, saved, rest = terminal.getvalue().split("\n")
        self.assertIn("compiling the first steps", bar)
        self.assertStartsWith(bar.rpartition("\r")[2], "2/4 [==========     ")
        self.assertStartsWith(saved, "Saved at step 2; start again ")
        self.assertEqual(rest, "")

    def test_covariate_shift_is_that_of_the_optimizers_update(self):
        trainer = self._trainer(
            self._two_layers(), "adam", train_steps=1, diagnostics={"ics": 1}
        )
        a, b = (w.astype("float64") for w in trainer.model.get_weights())
        trainer.train()
        a_after = trainer.model.get_weights()[0].astype("float64")
        x, y = self._batch(0)
        before = 2.0 * (x @ a).T @ (x @ a @ b - y)
        after = 2.0 * (x @ a_after).T @ (x @ a_after @ b - y)
        (record,) = self._records(trainer, "ics")
        self.assertEqual(record["step"], 0)
        first, second = record["layers"]
        self.assertEqual(first["distance"], 0.0)
        distance = np.linalg.norm(before - after)
        self.assertAllClose(second["distance"], distance, rtol=1e-3)
        self.assertAllClose(second["norm"], np.linalg.norm(before), rtol=RTOL)

    def test_watching_changes_nothing_and_records_come_at_their_steps(self):
        evaluate = mock.Mock(return_value={"loss": 2.0})
        trainers = []
        for options in (
            {"steps_per_execution": 1},
            {
                "steps_per_execution": 10,
                "log_freq": 13,
                "validation_freq": 8,
                "diagnostics": {"ics": 12, "activations": 7},
                "evaluations": {"other": evaluate},
            },
        ):
            keras.utils.set_random_seed(0)
            model = small.with_all_state()
            trainer = self._classifier(model, "adam", train_steps=25, **options)
            trainer.train()
            trainers.append(trainer)
            # Calls of several lengths, one trace.
            run = trainer._parts.steps._run
            self.assertEqual(run.experimental_get_tracing_count(), 1)
        plain, watched = (
            t.model.variables + t._parts.optimizer.variables for t in trainers
        )
        for one, other in zip(plain, watched, strict=True):
            self.assertAllEqual(one.numpy(), other.numpy())
        kinds = ("train", "eval", "other", "ics")
        steps = {k: [r["step"] for r in self._records(trainer, k)] for k in kinds}
        at_eights = [8, 16, 24, 25]
        expected = {"eval": at_eights, "other": at_eights}
        expected |= {"train": [13, 25], "ics": [0, 12, 24]}
        self.assertEqual(steps, expected)
        # The ramps of the schedules, from 1 on, ended before step 13.
        for record in self._records(trainer, "train"):
            self.assertAllClose((record["rmax"], record["dmax"]), (3.0, 5.0))

    def test_saved_model_is_the_trained_one(self):
        optimizer = keras.optimizers.SGD(0.1, use_ema=True)
        trainer = self._classifier(small.sequential(), optimizer, train_steps=2)
        trainer.train()
        loaded = keras.models.load_model(os.path.join(trainer.run_dir, "model.keras"))
        for a, b in zip(loaded.weights, trainer.model.weights, strict=True):
            self.assertAllEqual(a.numpy(), b.numpy())
        # As at the end of `fit`, the moving averages of the weights.
        averages = optimizer._model_variables_moving_average
        self.assertAllEqual(averages[0].numpy(), loaded.weights[0].numpy())

    def test_without_validation_data(self):
        trainer = self._trainer(
            self._linear(), "sgd", train_steps=2, validation_data=None
        )
        self.assertEqual(trainer.train(), {})
        self.assertEmpty(self._records(trainer, "eval"))

    def test_compiled_by_xla_it_is_the_same_run(self):
        weights = []
        for jit_compile in (False, True):
            keras.utils.set_random_seed(0)
            trainer = self._classifier(
                small.sequential(), "adam", train_steps=3, jit_compile=jit_compile
            )
            trainer.train()
            weights.append(trainer.model.get_weights())
        self.assertAllClose(*weights, rtol=1e-3, atol=1e-4)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16", "float64")
    def test_dtype_policies(self, policy):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = small.sequential()
        finally:
            keras.config.set_dtype_policy(before)
        trainer = self._classifier(
            model, "sgd", train_steps=2, diagnostics={"ics": 1}, on_nonfinite="skip"
        )
        self.assertTrue(np.isfinite(trainer.train()["loss"]))
        scales = isinstance(
            trainer._parts.optimizer, keras.optimizers.LossScaleOptimizer
        )
        self.assertEqual(scales, policy == "mixed_float16")
        y_pred = model(self._x)
        loss = trainer._parts.objective.loss(np.zeros(small.SIZE, "int64"), y_pred)
        self.assertEqual(loss.dtype, "float64" if policy == "float64" else "float32")

    def setUp(self):
        super().setUp()
        self.enter_context(testing_utils.graphs_as_traced())
        rng = np.random.default_rng(0)
        self._x = rng.normal(size=(small.SIZE, 4)).astype("float32")
        self._y = rng.normal(size=(small.SIZE, 3)).astype("float32")
        self._labels = np.arange(small.SIZE) % 3
        self._sampler = data.IIDBatches(small.SIZE, small.BATCH)

    def _batch(self, step):
        indices = self._sampler.indices(step)
        return self._x[indices].astype("float64"), self._y[indices].astype("float64")

    def _linear(self, l2=0.0):
        regularizer = keras.regularizers.L2(l2)
        layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer=regularizer)
        return keras.Sequential([keras.Input((4,)), layer])

    def _two_layers(self):
        names = "first", "second"
        layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in names]
        return keras.Sequential([keras.Input((4,)), *layers])

    def _diverging(self, learning_rate=1e30, **options):
        keras.utils.set_random_seed(0)
        optimizer = keras.optimizers.SGD(learning_rate)
        return self._trainer(self._two_layers(), optimizer, **options)

    def _trainer(self, model, optimizer, **options):
        """Of a regression with the sum of squared errors."""
        loss = _SquaredError(reduction="sum")
        batches = data.ArrayBatches(self._x, self._y, self._sampler)
        options = {"validation_data": (self._x, self._y), "log_freq": 1, **options}
        return self._made(model, optimizer, loss, batches, **options)

    def _classifier(self, model, optimizer, **options):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        batches = data.ArrayBatches(self._x, self._labels, self._sampler)
        options = {"validation_data": (self._x, self._labels), **options}
        return self._made(model, optimizer, loss, batches, **options)

    def _made(self, *arguments, **options):
        run_dir = tempfile.mkdtemp(dir=self.get_temp_dir())
        defaults = {"run_dir": run_dir, "progress": False, "validation_batch_size": 16}
        return Trainer(*arguments, **{**defaults, **options})

    def _records(self, trainer, kind):
        return records.read_records(trainer.run_dir, kind)


class _SquaredError(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_sum(tf.square(y_pred - y_true), axis=-1)


def _frozen():
    model = small.sequential()
    model.trainable = False
    return model


_X, _Y = np.zeros((8, 4), "float32"), np.zeros((8, 3), "float32")
_GENERATOR = tf.data.Dataset.from_generator(
    lambda: [(_X, _Y)],
    output_signature=(tf.TensorSpec([8, 4]), tf.TensorSpec([8, 3])),
)
_PAIRS = tf.data.Dataset.from_tensors((_X, _Y))
_RANDOM = _PAIRS.map(lambda x, y: (tf.random.uniform([8, 4]), y))


class ArgumentsTest(tf.test.TestCase, parameterized.TestCase):
    """Each wrong argument is refused in one line, and leaves no folder."""

    @parameterized.parameters(
        # Argument, value, what the message says after "Received".
        ("model", "vgg", "model='vgg'"),
        (
            "model",
            keras.Sequential([keras.layers.Dense(3)]),
            ", which is not",
        ),
        ("model", _frozen(), "with none"),
        ("optimizer", "sdg", "optimizer='sdg'"),
        ("loss", None, "loss=None"),
        ("loss", "crossentropie", "crossentropie"),
        ("loss", keras.losses.MeanSquaredError(reduction=None), r"shape \(1,\)"),
        ("loss", "sparse_categorical_crossentropy", r"outputs of shape \(None, 3\)"),
        ("metrics", ["acuracy"], "acuracy"),
        ("batches", None, "batches=None"),
        ("batches", lambda step: _X, "a batch that is array"),
        ("batches", lambda step: (_X, "y"), "a part of shape"),
        ("batches", lambda step: (_Y, _Y), r"inputs of shape \(None, 3\)"),
        ("batches", lambda step: (np.float32(1.0), _Y), r"of shape \(\)"),
        ("batches", tf.data.Dataset.range(3), "elements TensorSpec"),
        ("batches", _GENERATOR, "PyFunc is stateful"),
        ("batches", _RANDOM, "RandomUniform is stateful"),
        ("validation_data", _X, "validation_data=array"),
        ("validation_data", (_X, _Y[1:]), r"\[7, 8\] examples"),
        ("diagnostics", {"icss": 3}, "icss"),
        ("diagnostics", {"ics": -1}, "-1"),
        ("jit_compile", "on", "jit_compile='on'"),
        ("on_nonfinite", "skipp", "Did you mean 'skip'"),
        ("checkpoint_minutes", -0.5, "checkpoint_minutes=-0.5"),
        ("progress", "yes", "progress='yes'"),
        *(
            (name, least - 1, f"{name}={least - 1}")
            for name, least in (
                ("train_steps", 1),
                ("validation_batch_size", 1),
                ("validation_freq", 0),
                ("steps_per_execution", 1),
                ("log_freq", 1),
                ("checkpoint_freq", 0),
                ("max_to_keep", 1),
            )
        ),
    )
    def test_refused(self, name, value, received):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        arguments = {
            "model": keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
            "optimizer": "sgd",
            "loss": "mse",
            "batches": _PAIRS,
            "run_dir": os.path.join(folder, "run"),
            "train_steps": 2,
        }
        with self.assertRaisesRegex(ValueError, f"Received: .*{received}") as raised:
            Trainer(**{**arguments, name: value})
        self.assertNotIn("\n", str(raised.exception))
        self.assertEmpty(os.listdir(folder))

    def test_a_dataset_that_ends_early(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        trainer = Trainer(
            model,
            "sgd",
            "mse",
            _PAIRS,
            run_dir=self.get_temp_dir(),
            train_steps=2,
            progress=False,
        )
        with self.assertRaisesRegex(
            ValueError, r"a dataset that ends before step 1\. Give dataset\.repeat\(\)"
        ):
            trainer.train()

    def test_a_diagnostic_of_the_next_batch_needs_to_know_it(self):
        watch = mock.Mock()
        watch.name = "replication"
        with self.assertRaisesRegex(ValueError, "diagnostics with replication"):
            Trainer(
                keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
                "sgd",
                "mse",
                _PAIRS,
                run_dir=self.get_temp_dir(),
                train_steps=2,
                diagnostics=[watch],
            )


if __name__ == "__main__":
    tf.test.main()
