"""Tests of tfbn.diagnostics.instruments: records against the plain functions."""

import json

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tfbn import diagnostics
from tfbn.diagnostics import instruments

# The same float32 numbers, by another trace.
RTOL = 1e-4
# Of differences of about equal numbers.
ATOL = 1e-5

RATE = 0.1


class InstrumentsTest(tf.test.TestCase, parameterized.TestCase):
    """All of a moment at which the weights of the model are those before the step."""

    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4, name="hidden"),
                tfbn.BatchNorm(name="norm"),
                keras.layers.Activation("tanh"),
                keras.layers.Dense(3, name="logits"),
            ]
        )
        self.moment = _moment(self.model, step=5)

    def test_covariate_shift_of_the_optimizers_update(self):
        values = self._measured(instruments.covariate_shift, "ics")
        shifts = diagnostics.CovariateShiftMeter(self.model, cross_entropy)(
            self.moment.before, self.moment.after.parameters, *self.moment.batch
        )
        self._assert_shifts(values, shifts)

    def test_covariate_shift_of_gradient_descent(self):
        values = self._measured(instruments.covariate_shift, "ics", update="sgd")
        gradients = diagnostics.LossFunction(self.model, cross_entropy).gradients(
            *self.moment.before, *self.moment.batch
        )
        before = self.moment.before.parameters
        updated = [p - RATE * g for p, g in zip(before, gradients, strict=True)]
        shifts = diagnostics.CovariateShiftMeter(self.model, cross_entropy)(
            self.moment.before, updated, *self.moment.batch
        )
        self._assert_shifts(values, shifts)
        other = self._measured(instruments.covariate_shift, "ics")
        distances = [v["total"]["distance"] for v in (values, other)]
        self.assertNotAllClose(*distances, rtol=0.1)

    @parameterized.parameters(
        ("gradient", ["landscape"]),
        ("random", ["landscape_random"]),
        ("both", ["landscape", "landscape_random"]),
    )
    def test_landscape(self, directions, kinds):
        options = {"low": 0.25, "high": 2.0, "num": 3, "directions": directions}
        found = self._records(instruments.landscape, **options)
        self.assertEqual(list(found), kinds)
        for kind, values in found.items():
            self.assertAllClose(values["step_sizes"], [0.025, 0.0707107, 0.2])
            self.assertEqual(values["learning_rate"], RATE)
            expected = diagnostics.landscape(
                self.model,
                cross_entropy,
                *self.moment.batch,
                step_sizes=values["step_sizes"],
                direction="random" if kind == "landscape_random" else "gradient",
                seed=5,  # the step, so that each step has a direction of its own
            )
            self.assertAllClose(values["losses"], expected.losses, rtol=RTOL)
            self.assertAllClose(values["beta"], expected.beta, rtol=RTOL)

    def test_activations_change_and_drift(self):
        instrument = instruments.activations(self.model)
        later = self.moment._replace(
            step=6, before=self.moment.after, after=_moved(self.moment.after, 0.3)
        )
        found = [instrument.measure(m)["activations"] for m in (self.moment, later)]
        means = [
            [np.mean(la.mean) for la in self._activations(state)]
            for state in (self.moment.before, self.moment.after)
        ]
        units = [
            [la.mean for la in self._activations(s)]
            for s in (self.moment.before, later.before, later.after)
        ]
        for values, mean in zip(found, means, strict=True):
            actual = [layer["mean"] for layer in values["layers"]]
            self.assertAllClose(actual, mean, atol=ATOL)
        first, second = ([la for la in v["layers"]] for v in found)
        for i, (one, two) in enumerate(zip(first, second, strict=True)):
            change = np.mean(np.abs(units[1][i] - units[0][i]))
            self.assertAllClose(one["mean_change"], change, atol=ATOL)
            self.assertEqual(one["mean_drift"], 0.0)
            # From the first moment, not from the one before this step's update.
            self.assertAllClose(two["mean_drift"], change, atol=ATOL)
            change = np.mean(np.abs(units[2][i] - units[1][i]))
            self.assertAllClose(two["mean_change"], change, atol=ATOL)
        self.assertGreater(max(la["mean_drift"] for la in second), 0.01)

    def test_activations_are_those_of_the_probe_batch(self):
        other = self.moment._replace(batch=_batch(seed=9), next_batch=_batch(seed=9))
        instrument = instruments.activations(self.model, drift=False)
        found = [instrument.measure(m) for m in (self.moment, other)]
        self.assertAllEqual(*[json.dumps(f) for f in found])
        self.assertNotIn("mean_drift", found[0]["activations"]["layers"][0])

    def test_curvature(self):
        options = {"iterations": 4, "per_layer": True}
        values = self._measured(instruments.curvature, "curvature", **options)
        expected = diagnostics.hessian_top_eigenvalue(
            self.model, cross_entropy, *self.moment.batch, iterations=4
        )
        self.assertAllClose(values["eigenvalue"], expected.eigenvalue, rtol=RTOL)
        names = [layer["name"] for layer in values["layers"]]
        self.assertEqual(names, ["hidden", "logits"])

    def test_theory(self):
        (layer,) = self._measured(instruments.theory, "theory")["layers"]
        (expected,) = diagnostics.gradient_identities(
            self.model, cross_entropy, *self.moment.batch
        )
        self.assertEqual(layer["name"], "norm")
        for name in ("norm", "bound", "printed_bound"):
            self.assertAllClose(layer[name], getattr(expected, name), rtol=RTOL)

    def test_replication(self):
        keras.utils.set_random_seed(2)
        make = lambda: keras.Sequential(  # noqa: E731
            [
                keras.Input((4, 4, 1)),
                keras.layers.Conv2D(2, 2, name="conv1"),
                keras.layers.Conv2D(2, 2, name="conv2"),
                keras.layers.Flatten(),
                keras.layers.Dense(3),
            ]
        )
        model, other = make(), make().trainable_variables
        moment = _moment(model, step=3)
        instrument = instruments.replication(
            model, cross_entropy, other, layers=["conv2"]
        )
        (layer,) = instrument.measure(moment)["replication"]["layers"]
        meter = diagnostics.ReplicationMeter(
            model, cross_entropy, other, layers=["conv2"]
        )
        (expected,) = meter(
            moment.before, moment.after, moment.batch, moment.next_batch
        )
        self.assertEqual(layer.keys(), expected._asdict().keys())
        for name in ("distance", "distance_faulty", "gradient_sum"):
            self.assertAllClose(layer[name], getattr(expected, name), rtol=RTOL)
        self.assertEqual(instrument.cost, meter.cost)

    @parameterized.parameters((1, "surface"), (2, "surface_2d"))
    def test_surface(self, dimensions, kind):
        options = {"radii": [-0.5, 0.0, 1.0], "dimensions": dimensions, "seed": 3}
        values = self._measured(instruments.surface, kind, **options)
        expected = diagnostics.loss_surface(
            self.model, cross_entropy, *self.moment.batch, **options
        )
        self.assertEqual(values["radii"], options["radii"])
        self.assertAllClose(values["losses"], expected.losses, rtol=RTOL)

    def test_measures_a_moment_and_not_the_models_own_weights(self):
        makers = {
            instruments.covariate_shift: {},
            instruments.landscape: {"num": 2},
            instruments.curvature: {"iterations": 2},
            instruments.theory: {},
            instruments.surface: {"radii": [0.0, 1.0]},
        }
        all_of = [m(self.model, cross_entropy, **o) for m, o in makers.items()]
        all_of.append(instruments.activations(self.model))
        found = [instrument.measure(self.moment) for instrument in all_of]
        for variable in self.model.trainable_variables:
            variable.assign(7.0 * variable + 1.0)
        before = [v.numpy() for v in self.model.variables]
        for instrument, values in zip(all_of, found, strict=True):
            again = instrument.measure(self.moment)
            self.assertEqual(json.dumps(again), json.dumps(values), instrument.name)
            (kind, *_) = values
            self.assertEqual(instrument.name, kind)
        for value, variable in zip(before, self.model.variables, strict=True):
            self.assertAllEqual(value, variable)

    def test_costs(self):
        args = self.model, cross_entropy
        landscape = diagnostics.LandscapeMeter(*args).cost
        one, both = (
            instruments.landscape(*args, num=3, directions=d).cost
            for d in ("gradient", "both")
        )
        # A pass for the point itself, and one for each step size.
        self.assertEqual(one.passes, 4 * landscape.passes)
        random = diagnostics.LandscapeMeter(*args, direction="random").cost
        passes = 4 * (landscape.passes + random.passes)
        self.assertEqual(both, (passes, max(landscape.copies, random.copies)))
        line, plane = (
            instruments.surface(*args, radii=[0.0, 1.0, 2.0], dimensions=d).cost
            for d in (1, 2)
        )
        surface = diagnostics.SurfaceMeter(*args).cost
        self.assertEqual(line, (3 * surface.passes, surface.copies))
        self.assertEqual(plane, (9 * surface.passes, surface.copies))
        passes = diagnostics.ActivationMeter(self.model).cost.passes
        self.assertEqual(instruments.activations(self.model).cost.passes, 2 * passes)
        for make, meter in (
            (instruments.covariate_shift, diagnostics.CovariateShiftMeter),
            (instruments.curvature, diagnostics.CurvatureMeter),
            (instruments.theory, diagnostics.GradientIdentityMeter),
        ):
            self.assertEqual(make(*args).cost, meter(*args).cost)

    @parameterized.parameters(
        (instruments.covariate_shift, {"update": "adam"}, "update='adam'"),
        (instruments.landscape, {"directions": "down"}, "directions='down'"),
        (instruments.landscape, {"low": 5.0}, "high must be greater than 5"),
        (instruments.landscape, {"num": 0}, "num=0"),
        (instruments.curvature, {"iterations": 0}, "iterations=0"),
    )
    def test_bad_choices(self, make, options, message):
        with self.assertRaisesRegex(ValueError, message):
            make(self.model, cross_entropy, **options)

    def _records(self, make, **options):
        found = make(self.model, cross_entropy, **options).measure(self.moment)
        json.dumps(found)  # plain numbers
        return found

    def _measured(self, make, kind, **options):
        found = self._records(make, **options)
        self.assertEqual(list(found), [kind])
        return found[kind]

    def _activations(self, state):
        meter = diagnostics.ActivationMeter(self.model)
        return meter(state, self.moment.probe[0])

    def _assert_shifts(self, values, shifts):
        self.assertEqual([v["name"] for v in values["layers"]], ["hidden", "logits"])
        for layer, shift in zip(values["layers"], shifts, strict=True):
            for name, value in shift._asdict().items():
                if name != "name":
                    self.assertAllClose(layer[name], value, rtol=RTOL, atol=ATOL)
        total = diagnostics.total_shift(shifts)
        self.assertAllClose(values["total"]["distance"], total.distance, rtol=RTOL)
        names = ["distance", "cosine", "norm", "norm_after"]
        self.assertEqual(list(values["total"]), names)


def _batch(seed, shape=(3,)):
    x, y = classification_batch(shape, 3, seed=seed)
    return tf.constant(x), tf.constant(y)


def _moved(state, scale):
    rng = np.random.default_rng(0)
    return diagnostics.State(
        [p + scale * rng.normal(size=p.shape).astype("float32") for p in state[0]],
        state.buffers,
    )


def _moment(model, step):
    before = diagnostics.snapshot(model)
    shape = model.input_shape[1:]
    return instruments.Moment(
        step=step,
        before=before,
        after=_moved(before, 0.2),
        batch=_batch(1, shape),
        next_batch=_batch(2, shape),
        probe=_batch(3, shape),
        learning_rate=RATE,
    )


if __name__ == "__main__":
    tf.test.main()
