"""Tests of tfbn.callbacks: what it measures in a fit, and that it changes nothing."""

import contextlib
import glob
import io
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn import callbacks
from tfbn import plots
from tfbn.diagnostics import Meter
from tfbn.diagnostics.measurement import Cost
from tfbn.recording import records

# float32 losses by two programs.
RTOL = 1e-5

_BATCH = 8
_PAIRS = tf.data.Dataset.from_tensors((np.zeros((4, 4)), np.zeros((4, 2))))


def _data(size=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 4)), rng.normal(size=(size, 2))


def _noisy():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, kernel_regularizer="l2")(inputs)
    x = tfbn.ActivationNoise(mean_range=0.1)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.2)(keras.ops.tanh(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def _functional():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, kernel_regularizer="l2", activation="tanh")(inputs)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def _sequential():  # not built before it is trained
    return keras.Sequential(
        [
            keras.layers.Dense(6, activation="tanh"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )


class Subclassed(keras.Model):  # not built either
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(6)
        self.norm = keras.layers.BatchNormalization()
        self.noise = keras.layers.GaussianNoise(0.1)
        self.last = keras.layers.Dense(2, bias_regularizer="l1")

    def call(self, x, training=None):
        x = keras.ops.relu(self.norm(self.first(x), training=training))
        return self.last(self.noise(x, training=training))


class Modeless(Subclassed):
    def call(self, x):
        return self.last(self.noise(keras.ops.relu(self.norm(self.first(x)))))


def _two_outputs():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    x = keras.layers.Dense(6, kernel_regularizer="l2")(inputs["a"] * inputs["b"])
    outputs = {
        name: keras.layers.Dense(2, name=name)(keras.layers.Dropout(0.2)(x))
        for name in ("p", "q")
    }
    return keras.Model(inputs, outputs)


_COMPILED = {
    "noisy": (_noisy, {"loss": "mse", "metrics": ["mae"]}),
    "functional": (_functional, {"loss": "mse"}),
    "sequential": (_sequential, {"loss": keras.losses.Huber()}),
    "subclassed": (Subclassed, {"loss": lambda y, p: keras.ops.square(y - p)}),
    "modeless": (Modeless, {"loss": "mse"}),
    "two_outputs": (
        _two_outputs,
        {"loss": {"p": "mse", "q": "mae"}, "loss_weights": {"p": 2.0, "q": 0.5}},
    ),
}


def _compiled(name, optimizer=None, *, run_eagerly=True, **options):
    # Eager training saves the time of tracing, where it makes no difference.
    keras.utils.set_random_seed(3)
    make, compile_ = _COMPILED[name]
    model = make()
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(
        optimizer,
        **{"jit_compile": False, **compile_, **options},
        run_eagerly=run_eagerly,
    )
    return model


def _data_for(name):
    x, y = _data()
    if name == "two_outputs":
        return {"a": x, "b": x[::-1].copy()}, {"p": y, "q": -y}
    return x, y


def _probe(x, y):
    return tf.nest.map_structure(lambda array: array[:_BATCH], (x, y))


def _fit(model, x, y, *watching, epochs=2, batch_size=_BATCH, shuffle=True):
    options = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle}
    return model.fit(x, y, callbacks=list(watching), verbose=0, **options).history


def _spy(steps):
    """A function of meters that keeps the steps."""

    class Spy(Meter):
        cost = Cost(0.0, 0)

        def measure(self, step):
            steps.append(step)
            return {"spy": {"number": float(len(steps))}}

    return lambda model: [Spy()]


def _place(variables, norm):
    """The index of a layer's moving mean."""
    return [v is norm.moving_mean for v in variables].index(True)


class _Weights(keras.callbacks.Callback):
    """Keeps all weights before and after each batch."""

    def __init__(self):
        super().__init__()
        self.before, self.after = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.model.get_weights())


class DiagnosticsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("noisy", "noisy", ["ics", "activations"], {}),
        ("xla", "functional", ["activations"], {"jit_compile": True}),
    )
    @pytest.mark.long
    def test_watching_changes_nothing(self, name, names, options):
        x, y = _data_for(name)
        ended = []
        for watched in (False, True):
            model = _compiled(name, run_eagerly=False, **options)
            jit_compile = options.get("jit_compile", False)
            watch = callbacks.Diagnostics(
                names, *_probe(x, y), every=2, jit_compile=jit_compile
            )
            history = _fit(model, x, y, *[watch] * watched)
            variables = [*model.variables, *model.optimizer.variables]
            ended.append(([v.numpy() for v in variables], history))
            # Where another draw of random numbers would show.
            ended[-1][0].append(keras.random.normal((3,)).numpy())
        (expected, expected_history), (actual, history) = ended
        self.assertEqual(len(actual), len(expected))
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        self.assertEqual(history, expected_history)
        steps = {kind: [r["step"] for r in rs] for kind, rs in watch.history.items()}
        self.assertEqual(steps, {name: [0, 2, 4] for name in names})

    def test_measures_around_the_steps_of_the_optimizer(self):
        x, y = _data()
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [2, 3], [0.1, 0.2, 0.3]
        )
        model = _compiled("functional", keras.optimizers.SGD(rate))
        steps, weights = [], _Weights()
        watch = callbacks.Diagnostics(_spy(steps), *_probe(x, y), every=1)
        _fit(model, x, y, weights, watch)
        self.assertEqual([m.step for m in steps], [0, 1, 2, 3, 4, 5])
        self.assertAllClose(
            [m.learning_rate for m in steps], [0.1, 0.1, 0.1, 0.2, 0.3, 0.3]
        )
        order = [model.trainable_variables, model.non_trainable_variables]
        place = {id(v): i for i, v in enumerate(model.weights)}
        for step, before, after in zip(
            steps, weights.before, weights.after, strict=True
        ):
            for state, expected in ((step.before, before), (step.after, after)):
                for variables, values in zip(order, state, strict=True):
                    for variable, value in zip(variables, values, strict=True):
                        if id(variable) in place:  # seeds are no weights
                            np.testing.assert_array_equal(
                                value, expected[place[id(variable)]]
                            )
            for pair in (step.batch, step.next_batch, step.probe):
                self.assertAllEqual(pair[0], x[:_BATCH])
                self.assertAllEqual(pair[1], y[:_BATCH])
        self.assertNotAllClose(weights.before[3][0], weights.after[3][0])

    @parameterized.parameters("modeless", "two_outputs")
    def test_loss_is_that_of_fit(self, name):
        x, y = _data_for(name)
        model = _compiled(name, run_eagerly=False)
        watch = callbacks.Diagnostics(["landscape"], x, y, every=1)
        # All data in a batch, each sample with the noise that it has in the probe.
        history = _fit(model, x, y, watch, batch_size=24, shuffle=False)
        measured = [record["loss"] for record in watch.history["landscape"]]
        self.assertAllClose(measured, history["loss"], rtol=RTOL)

    def test_a_loss_that_is_given_wins(self):
        x, y = _data()
        model = _compiled("functional")
        kernel = model.layers[1].kernel.numpy()

        def nothing(y_true, y_pred):
            del y_true
            return 0.0 * keras.ops.sum(y_pred)

        watch = callbacks.Diagnostics(["landscape"], *_probe(x, y), loss=nothing)
        _fit(model, x, y, watch, epochs=1)
        # Only the penalty is left, once.
        expected = 0.01 * np.sum(kernel**2)
        self.assertAllClose(watch.records[0]["loss"], expected, rtol=RTOL)

    def test_internal_covariate_shift_of_the_update_that_was_made(self):
        x, y = _data()
        model = _compiled("subclassed", keras.optimizers.SGD(0.1))
        weights = _Weights()
        watch = callbacks.Diagnostics(["ics"], x, y, every=100)
        _fit(model, x, y, weights, watch, epochs=1, batch_size=24, shuffle=False)
        layers = watch.records[0]["layers"]
        self.assertEqual(
            [la["name"] for la in layers], [model.first.name, model.last.name]
        )
        # One step of plain gradient descent on all data moves `last` by 0.1 G.
        places = [i for i, w in enumerate(model.weights) if "dense" in w.path][-2:]
        moved = [weights.before[0][i] - weights.after[0][i] for i in places]
        length = np.sqrt(sum(np.sum(m**2) for m in moved))
        self.assertAllClose(layers[1]["norm"], length / 0.1, rtol=1e-4)
        self.assertGreater(layers[1]["distance"], 0.0)

    def test_another_fit_counts_on_with_the_same_meters(self):
        x, y = _data()
        model = _compiled("functional")
        steps, made = [], []

        def make(of_model):
            made.append(of_model)
            return _spy(steps)(of_model)

        watch = callbacks.Diagnostics(make, *_probe(x, y), every=2)
        _fit(model, x, y, watch, epochs=1)
        _fit(model, x, y, watch, epochs=1)
        self.assertEqual([r["step"] for r in watch.records], [0, 2, 4])
        self.assertLen(made, 1)
        self.assertIs(made[0], model)
        model.layers[1].trainable = False
        model.compile("sgd", "mse")
        _fit(model, x, y, watch, epochs=1)
        self.assertLen(made, 2)
        self.assertLen(steps[-1].before.parameters, len(model.trainable_variables))
        # A new optimizer begins at 0; the later record of a step is kept.
        self.assertEqual([r["step"] for r in watch.records], [4, 0, 2])
        self.assertEqual([r["number"] for r in watch.history["spy"]], [3.0, 4.0, 5.0])

    def test_logarithmic_spacing(self):
        x, y = _data(size=184)
        watch = callbacks.Diagnostics(_spy([]), *_probe(x, y), every=1, spacing="log")
        _fit(_compiled("functional"), x, y, watch, epochs=1)
        steps = [r["step"] for r in watch.records]
        self.assertEqual(steps, [*range(20), 20, 22])

    def test_a_step_of_accumulated_gradients_is_measured_as_one(self):
        x, y = _data()
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        model = _compiled("subclassed", optimizer)
        steps, weights = [], _Weights()
        watch = callbacks.Diagnostics(_spy(steps), *_probe(x, y), every=1)
        _fit(model, x, y, weights, watch)
        self.assertEqual([m.step for m in steps], [0, 1, 2])
        for i, step in enumerate(steps):
            kernels = weights.before[2 * i][0], weights.after[2 * i + 1][0]
            np.testing.assert_array_equal(step.before.parameters[0], kernels[0])
            np.testing.assert_array_equal(step.after.parameters[0], kernels[1])
            self.assertNotAllClose(*kernels)
            # Moving averages go on between the two batches.
            mean = weights.before[2 * i][_place(model.weights, model.norm)]
            buffers = _place(model.non_trainable_variables, model.norm)
            np.testing.assert_array_equal(step.before.buffers[buffers], mean)

    def test_updates_that_a_loss_scale_skips_are_no_steps(self):
        x, y = _data()
        self.addCleanup(keras.config.set_dtype_policy, keras.config.dtype_policy())
        keras.config.set_dtype_policy("mixed_float16")
        optimizer = keras.optimizers.SGD(0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 2.0**17)
        model = _compiled("functional", optimizer)
        watch = callbacks.Diagnostics(["ics"], *_probe(x, y), every=1)
        _fit(model, x, y, watch)
        made = int(model.optimizer.iterations)
        self.assertBetween(made, 1, 5)
        self.assertEqual([r["step"] for r in watch.records], list(range(made)))
        self.assertGreater(watch.records[0]["layers"][-1]["distance"], 0.0)

    def test_files_and_figures(self):
        x, y = _data()
        model = _compiled("functional")
        folder = os.path.join(self.get_temp_dir(), "watched")
        watch = callbacks.Diagnostics(
            ["ics", "activations"], *_probe(x, y), every=3, log_dir=folder
        )
        _fit(model, x, y, watch)
        _fit(model, x, y, watch, epochs=1)
        self.assertEqual([r["step"] for r in watch.records], [0, 0, 3, 3, 6, 6])
        self.assertEqual(records.read_runs([folder]), {"watched": watch.records})
        tags = {
            value.tag
            for path in glob.glob(os.path.join(folder, "events*"))
            for event in tf.data.TFRecordDataset(path)
            for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value
        }
        self.assertIn("ics/total_distance", tags)
        drawn = plots.figures({"mine": watch.records})
        self.assertContainsSubset({"covariate_shift", "activation_ridges"}, drawn)

    def test_nan_goes_on(self):
        x, y = _data()
        model = _compiled("functional")
        folder = self.get_temp_dir()
        watch = callbacks.Diagnostics(
            ["landscape", "activations"], x * np.nan, y, log_dir=folder
        )
        history = _fit(model, x, y, watch)
        self.assertEqual(history, _fit(_compiled("functional"), x, y))
        self.assertTrue(np.isnan(watch.history["landscape"][0]["loss"]))
        self.assertLen(records.read_records(folder), 2)

    def test_no_landscape_where_the_learning_rate_is_zero(self):
        x, y = _data()
        rate = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.1)
        model = _compiled("sequential", keras.optimizers.SGD(rate))
        names = ["landscape", "activations"]
        watch = callbacks.Diagnostics(names, *_probe(x, y), every=2)
        _fit(model, x, y, watch)
        steps = {kind: [r["step"] for r in rs] for kind, rs in watch.history.items()}
        self.assertEqual(steps, {"activations": [0, 2, 4], "landscape": [2, 4]})

    def test_a_dataset_in_place_of_the_probe_batch(self):
        x, y = _data()
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(7)  # the last of 3
        found = []
        for probe in ((dataset,), (x, y)):
            model = _compiled("modeless", keras.optimizers.SGD(0.05))  # no statistics
            names = ["ics", "activations"]
            watch = callbacks.Diagnostics(names, *probe, every=2)
            _fit(model, x, y, watch, epochs=1, shuffle=False)
            found.append(watch.records)
        for many, one in zip(*found, strict=True):
            self.assertEqual((many["kind"], many["step"]), (one["kind"], one["step"]))
            for a, b in zip(many["layers"], one["layers"], strict=True):
                for name in {"norm", "distance", "mean", "variance_change"} & set(a):
                    self.assertAllClose(a[name], b[name], rtol=1e-4, atol=1e-6)

    def test_says_what_it_does_unless_fit_is_silent(self):
        x, y = _data()
        model = _compiled("functional")
        watch = callbacks.Diagnostics(_spy([]), *_probe(x, y), every=5)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            _fit(model, x, y, watch, epochs=1)
        self.assertEqual(said.getvalue(), "")
        with contextlib.redirect_stdout(said):
            # Steps 3 to 5, the bar of step 3 and 4 being there; then 6 to 8.
            model.fit(x, y, batch_size=_BATCH, callbacks=[watch])
            model.fit(x, y, batch_size=_BATCH, callbacks=[watch], verbose=2)
        lines = said.getvalue().splitlines()
        told = [line for line in lines if line.startswith("Meas")]
        self.assertRegex(
            told[0], r"^Measured Spy 2 times, .* each \(the first .* s\)\.$"
        )
        self.assertEqual(
            told[1:],
            [
                "Measured nothing in the 3 steps from 6 to 8: with every=5, the next "
                "measurement is due at step 10. Steps count on from fit to fit."
            ],
        )

    def test_announces_a_first_measurement_below_the_bar(self):
        x, y = _data()
        model = _compiled("functional")
        model.optimizer.iterations.assign(1)
        watch = callbacks.Diagnostics(_spy([]), *_probe(x, y), every=2)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            model.fit(x, y, batch_size=_BATCH, callbacks=[watch])
        lines = said.getvalue().splitlines()
        (first,) = [i for i, t in enumerate(lines) if t.startswith("Measuring")]
        self.assertStartsWith(
            lines[first],
            "Measuring Spy at step 2: about 0.0 forward and backward passes",
        )
        self.assertRegex(lines[first + 1], r"^Measured Spy in 0\.0 s\.$")

    def test_nothing_to_measure_is_said_once(self):
        x, y = _data()
        inputs = keras.Input((4,))
        norm = tfbn.BatchRenorm(rmax=2.0, dmax=1.0)
        model = keras.Model(inputs, norm(keras.layers.Dense(2)(inputs)))
        model.compile("sgd", "mse", run_eagerly=True)
        watch = callbacks.Diagnostics(["theory"], *_probe(x, y), every=1)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            model.fit(x, y, batch_size=_BATCH, callbacks=[watch], verbose=2)
        line = "Nothing to measure for theory: no layer normalises by the batch alone."
        lines = said.getvalue().splitlines()
        self.assertEqual(lines.count(line), 1)
        self.assertFalse([told for told in lines if told.startswith("Measured")])
        self.assertEqual(watch.records, [])
        self.assertEqual(watch.left_out, {"theory": line.split(": ")[1][:-1]})


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("unknown", {"diagnostics": ["isc"]}, "'isc'.*Did you mean 'ics'"),
        ("string", {"diagnostics": "ics"}, "list of names.*diagnostics='ics'"),
        ("none", {"diagnostics": []}, r"one or more.*diagnostics=\[\]"),
        ("options", {"options": {"isc": {}}}, "'isc'.*Did you mean 'ics'"),
        ("option", {"options": {"ics": 3}}, r"options={'ics': 3}"),
        ("loss", {"loss": "mse"}, "loss must be a function.*loss='mse'"),
        ("sizes", {"y": np.zeros((3, 2))}, r"same number of examples.*\(3, 2\)"),
        ("targets", {"x": _PAIRS}, "y must be None where x is a dataset"),
        (
            "one batch only",
            {"diagnostics": ["theory"], "x": _PAIRS, "y": None},
            "must be among ics, .* where x is a dataset. Received: 'theory'",
        ),
    )
    def test_at_once(self, changed, message):
        x, y = _data()
        arguments = {"diagnostics": ["ics"], "x": x, "y": y, **changed}
        with self.assertRaisesRegex(ValueError, message):
            callbacks.Diagnostics(**arguments)

    @parameterized.named_parameters(
        ("x", {}, (8, 3), (8, 2), r"x must be a batch.*\(8, 3\)"),
        ("y", {}, (8, 4), (8, 7), r"y must fit the loss.*\(8, 7\)"),
        ("group", {"steps_per_execution": 3}, (8, 4), (8, 2), "steps_per_execution=3"),
    )
    def test_when_fit_begins(self, options, x_shape, y_shape, message):
        model = _compiled("functional", **options)
        before = [v.numpy() for v in model.variables]
        model.optimizer.iterations.assign(1)  # not a step that is measured
        watch = callbacks.Diagnostics(["ics"], np.zeros(x_shape), np.zeros(y_shape))
        with self.assertRaisesRegex(ValueError, message):
            _fit(model, *_data(), watch)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)

    def test_no_loss(self):
        x, y = _data()

        class Own(Subclassed):
            def compute_loss(self, x, y, y_pred, sample_weight=None):
                return keras.ops.mean(keras.ops.abs(y - y_pred))

        for make, why in (
            (_with_add_loss, "has none"),
            (Own, "compute_loss of its own"),
        ):
            model = make()
            loss = "mse" if make is Own else None
            model.compile("sgd", loss, jit_compile=False)
            watch = callbacks.Diagnostics(["ics"], x, y)
            with self.assertRaisesRegex(ValueError, f"loss must be given.*{why}"):
                _fit(model, x, y, watch)
            # Which takes no loss, or is given one.
            loss = keras.losses.MeanAbsoluteError()
            _fit(model, x, y, callbacks.Diagnostics(["activations"], x, y), epochs=1)
            _fit(model, x, y, callbacks.Diagnostics(["ics"], x, y, loss=loss), epochs=1)

    def test_another_model(self):
        x, y = _data()
        watch = callbacks.Diagnostics(_spy([]), x, y)
        _fit(_compiled("functional"), x, y, watch, epochs=1)
        with self.assertRaisesRegex(
            ValueError, "belongs to one model. Received: functional"
        ):
            _fit(_compiled("functional"), x, y, watch, epochs=1)

    @parameterized.parameters(lambda m: None, lambda m: ["ics"])
    def test_no_meters_of_a_function(self, make):
        x, y = _data()
        with self.assertRaisesRegex(
            ValueError, "must return a list of tfbn.diagnostics.Meter"
        ):
            _fit(_compiled("functional"), x, y, callbacks.Diagnostics(make, x, y))

    def test_several_replicas(self):
        x, y = _data()
        with testing_utils.two_cpus_strategy().scope():
            model = _compiled("sequential")
        with self.assertRaisesRegex(ValueError, "one replica. Received: sequential"):
            _fit(model, x, y, callbacks.Diagnostics(["ics"], x, y))


class WithAddLoss(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def _with_add_loss():
    return keras.Sequential([keras.layers.Dense(2), WithAddLoss()])


if __name__ == "__main__":
    tf.test.main()
