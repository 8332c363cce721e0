"""Tests of callbacks.Diagnostics: what it measures, and that it changes nothing."""

import contextlib
import io
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.callbacks import small
from tfbn import callbacks

# float32 losses by two programs.
RTOL = 1e-5


class DiagnosticsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("noisy", "noisy", ["ics", "activations"], {}),
        ("xla", "functional", ["activations"], {"jit_compile": True}),
        ("group", "functional", ["activations"], {"steps_per_execution": 2}),
    )
    @pytest.mark.long
    def test_watching_changes_nothing(self, name, names, options):
        x, y = small.data_for(name)
        ended = []
        for watched in (False, True):
            model = small.compiled(name, run_eagerly=False, **options)
            jit_compile = options.get("jit_compile", False)
            watch = callbacks.Diagnostics(
                names, *small.probe(x, y), every=2, jit_compile=jit_compile
            )
            history = small.fit(model, x, y, *[watch] * watched)
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
        x, y = small.data()
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [2, 3], [0.1, 0.2, 0.3]
        )
        model = small.compiled("functional", keras.optimizers.SGD(rate))
        steps, weights = [], small.Weights()
        watch = callbacks.Diagnostics(small.spy(steps), *small.probe(x, y), every=1)
        small.fit(model, x, y, weights, watch)
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
                self.assertAllEqual(pair[0], x[: small.BATCH])
                self.assertAllEqual(pair[1], y[: small.BATCH])
        self.assertNotAllClose(weights.before[3][0], weights.after[3][0])

    @parameterized.parameters("modeless", "two_outputs")
    def test_loss_is_that_of_fit(self, name):
        x, y = small.data_for(name)
        model = small.compiled(name, run_eagerly=False)
        watch = callbacks.Diagnostics(["landscape"], x, y, every=1)
        # All data in a batch, each sample with the noise that it has in the probe.
        history = small.fit(model, x, y, watch, batch_size=24, shuffle=False)
        measured = [record["loss"] for record in watch.history["landscape"]]
        self.assertAllClose(measured, history["loss"], rtol=RTOL)

    def test_internal_covariate_shift_of_the_update_that_was_made(self):
        x, y = small.data()
        model = small.compiled("subclassed", keras.optimizers.SGD(0.1))
        weights = small.Weights()
        watch = callbacks.Diagnostics(["ics"], x, y, every=100)
        small.fit(model, x, y, weights, watch, epochs=1, batch_size=24, shuffle=False)
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

    def test_logarithmic_spacing(self):
        x, y = small.data(size=184)
        watch = callbacks.Diagnostics(
            small.spy([]), *small.probe(x, y), every=1, spacing="log"
        )
        small.fit(small.compiled("functional"), x, y, watch, epochs=1)
        steps = [r["step"] for r in watch.records]
        self.assertEqual(steps, [*range(20), 20, 22])

    def test_a_step_of_accumulated_gradients_is_measured_as_one(self):
        x, y = small.data()
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        model = small.compiled("subclassed", optimizer)
        steps, weights = [], small.Weights()
        watch = callbacks.Diagnostics(small.spy(steps), *small.probe(x, y), every=1)
        small.fit(model, x, y, weights, watch)
        self.assertEqual([m.step for m in steps], [0, 1, 2])
        for i, step in enumerate(steps):
            kernels = weights.before[2 * i][0], weights.after[2 * i + 1][0]
            np.testing.assert_array_equal(step.before.parameters[0], kernels[0])
            np.testing.assert_array_equal(step.after.parameters[0], kernels[1])
            self.assertNotAllClose(*kernels)
            # Moving averages go on between the two batches.
            mean = weights.before[2 * i][small.place(model.weights, model.norm)]
            buffers = small.place(model.non_trainable_variables, model.norm)
            np.testing.assert_array_equal(step.before.buffers[buffers], mean)

    def test_updates_that_a_loss_scale_skips_are_no_steps(self):
        x, y = small.data()
        self.addCleanup(keras.config.set_dtype_policy, keras.config.dtype_policy())
        keras.config.set_dtype_policy("mixed_float16")
        optimizer = keras.optimizers.SGD(0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 2.0**17)
        model = small.compiled("functional", optimizer)
        watch = callbacks.Diagnostics(["ics"], *small.probe(x, y), every=1)
        small.fit(model, x, y, watch)
        made = int(model.optimizer.iterations)
        self.assertBetween(made, 1, 5)
        self.assertEqual([r["step"] for r in watch.records], list(range(made)))
        self.assertGreater(watch.records[0]["layers"][-1]["distance"], 0.0)

    def test_no_landscape_where_the_learning_rate_is_zero(self):
        x, y = small.data()
        rate = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.1)
        model = small.compiled("sequential", keras.optimizers.SGD(rate))
        names = ["landscape", "activations"]
        watch = callbacks.Diagnostics(names, *small.probe(x, y), every=2)
        small.fit(model, x, y, watch)
        steps = {kind: [r["step"] for r in rs] for kind, rs in watch.history.items()}
        self.assertEqual(steps, {"activations": [0, 2, 4], "landscape": [2, 4]})

    def test_a_dataset_in_place_of_the_probe_batch(self):
        x, y = small.data()
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(7)  # the last of 3
        found = []
        for probe in ((dataset,), (x, y)):
            # Without statistics of the batch.
            model = small.compiled("modeless", keras.optimizers.SGD(0.05))
            names = ["ics", "activations"]
            watch = callbacks.Diagnostics(names, *probe, every=2)
            small.fit(model, x, y, watch, epochs=1, shuffle=False)
            found.append(watch.records)
        for many, one in zip(*found, strict=True):
            self.assertEqual((many["kind"], many["step"]), (one["kind"], one["step"]))
            for a, b in zip(many["layers"], one["layers"], strict=True):
                for name in {"norm", "distance", "mean", "variance_change"} & set(a):
                    self.assertAllClose(a[name], b[name], rtol=1e-4, atol=1e-6)

    def test_says_what_it_does_unless_fit_is_silent(self):
        x, y = small.data()
        model = small.compiled("functional")
        watch = callbacks.Diagnostics(small.spy([]), *small.probe(x, y), every=5)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            small.fit(model, x, y, watch, epochs=1)
        self.assertEqual(said.getvalue(), "")
        with contextlib.redirect_stdout(said):
            # Steps 3 to 5, the bar of step 3 and 4 being there; then 6 to 8.
            model.fit(x, y, batch_size=small.BATCH, callbacks=[watch])
            model.fit(x, y, batch_size=small.BATCH, callbacks=[watch], verbose=2)
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
        x, y = small.data()
        model = small.compiled("functional")
        model.optimizer.iterations.assign(1)
        watch = callbacks.Diagnostics(small.spy([]), *small.probe(x, y), every=2)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            model.fit(x, y, batch_size=small.BATCH, callbacks=[watch])
        lines = said.getvalue().splitlines()
        (first,) = [i for i, t in enumerate(lines) if t.startswith("Measuring")]
        self.assertStartsWith(
            lines[first],
            "Measuring Spy at step 2: about 0.0 forward and backward passes",
        )
        self.assertRegex(lines[first + 1], r"^Measured Spy in 0\.0 s\.$")


class ReplicasTest(tf.test.TestCase):
    def _model(self, strategy, **options):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            model = keras.Sequential(
                [
                    keras.Input((4,)),
                    keras.layers.Dense(6, kernel_regularizer="l2"),
                    tfbn.BatchNorm(synchronized=True),
                    keras.layers.ReLU(),
                    keras.layers.Dense(2),
                ]
            )
            optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
            optimizer.build(model.trainable_variables)
            model.compile(optimizer, "mse", jit_compile=False, **options)
        return model

    def test_records_are_those_of_one_device_and_nothing_changes(self):
        x, y = small.data(size=21)  # replicas get 4 and 4, at last 3 and 2
        one, several = tf.distribute.get_strategy(), testing_utils.two_cpus_strategy()
        found = []
        for strategy in (one, several):
            model = self._model(strategy, run_eagerly=strategy is one)
            variables = [*model.variables, *model.optimizer.variables]
            start, ended = [v.numpy() for v in variables], []
            for watched in (False, True)[strategy is one :]:
                for variable, value in zip(variables, start, strict=True):
                    variable.assign(value)
                watch = callbacks.Diagnostics(["ics"], *small.probe(x, y), every=1)
                with strategy.scope():  # where Keras takes half of a loss
                    small.fit(model, x, y, *[watch] * watched, epochs=1, shuffle=False)
                ended.append([v.numpy() for v in variables])
            for a, b in zip(ended[0], ended[-1], strict=True):
                np.testing.assert_array_equal(a, b)
            found.append(watch.records)
        self.assertEqual([record["step"] for record in found[1]], [0, 1, 2])
        # Keras weighs the halves of the last batch alike, and so makes another update.
        for a, b in zip(found[0][:2], found[1][:2], strict=True):
            self.assertAllClose(_numbers(a), _numbers(b), rtol=1e-4, atol=1e-6)

    def test_several_steps_per_execution(self):
        x, y = small.data(size=21)
        # Eagerly, for Keras compiles no loop of steps on several replicas.
        model = self._model(
            testing_utils.two_cpus_strategy(), run_eagerly=True, steps_per_execution=3
        )
        steps = []
        watch = callbacks.Diagnostics(small.spy(steps), *small.probe(x, y), every=1)
        small.fit(model, x, y, watch, epochs=1)
        self.assertEqual([step.step for step in steps], [0, 1, 2])
        states = [state for step in steps for state in (step.before, step.after)]
        for i, (state, following) in enumerate(itertools.pairwise(states)):
            compare = self.assertAllClose if i % 2 else self.assertNotAllClose
            compare(state.parameters[0], following.parameters[0])
        self.assertAllEqual(steps[-1].after.parameters[0], model.trainable_variables[0])


def _numbers(record):
    """The numbers of a record of layers, in order."""
    values = [layer.values() for layer in record["layers"]]
    return [v for layer in values for v in layer if isinstance(v, float)]


if __name__ == "__main__":
    tf.test.main()
