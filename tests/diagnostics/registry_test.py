"""Tests of what every diagnostic in the registry promises, and of its records."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tfbn import diagnostics
from tfbn import plots
from tfbn.diagnostics import activations
from tfbn.diagnostics import registry
from tfbn.recording import records

# The same float32 numbers, by another trace.
RTOL = 1e-4
# Differences of about equal numbers.
ATOL = 1e-5

RATE = 0.1
NAMES = tuple(registry)
KINDS = [kind for diagnostic in registry.values() for kind in diagnostic.kinds]

# As few passes as will do.
_OPTIONS = {
    "landscape": {"points": 2, "directions": "both"},
    "curvature": {"iterations": 2, "per_layer": True},
    "replication": {"convolutions": (1,)},
    "surface": {"points": 2},
    "surface_2d": {"points": 2},
}


class Counting(keras.layers.Layer):
    """Counts how often it is called by Python: once a trace and place."""

    calls = 0

    def call(self, x):
        Counting.calls += 1
        return x


def _network():
    """All kinds of state: averages, seeds; a convolution as VGG names them."""
    return keras.Sequential(
        [
            keras.Input((3, 3, 1)),
            Counting(),
            keras.layers.Conv2D(2, 2, name="conv1", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Activation("tanh"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            tfbn.BatchRenorm(center=False, scale=False, name="renorm"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def _batch(seed):
    return tuple(map(tf.constant, classification_batch((3, 3, 1), 3, seed=seed)))


def _moved(state, scale, seed=0):
    rng = np.random.default_rng(seed)
    moved = [p + scale * rng.normal(size=p.shape).astype("float32") for p in state[0]]
    return diagnostics.State(moved, state.buffers)


class RegistryTest(tf.test.TestCase, parameterized.TestCase):
    """Of a step at which the model's weights are those before the update."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        keras.utils.set_random_seed(1)
        cls.model, cls.second = _network(), _network()
        before = diagnostics.snapshot(cls.model)
        cls.step = diagnostics.TrainingStep(
            step=5,
            before=before,
            after=_moved(before, 0.1),
            batch=_batch(1),
            next_batch=_batch(2),
            probe=_batch(3),
            learning_rate=RATE,
        )
        cls.meters, cls.found = {}, {}

    def meter(self, name, **options):
        loss = cross_entropy if diagnostics.Need.LOSS in registry[name].needs else None
        return registry[name].meter(
            self.model, loss, second_model=lambda: self.second, **options
        )

    def records(self, name):
        """Those of one meter, which measures once for all tests."""
        if name not in self.found:
            self.meters[name] = self.meter(name, **_OPTIONS.get(name, {}))
            self.found[name] = self.meters[name].measure(self.step)
        return self.found[name]

    @parameterized.parameters(*NAMES)
    def test_records_are_those_declared(self, name):
        found = self.records(name)
        kinds = {kind.name: kind for kind in registry[name].kinds}
        self.assertEqual(list(found), list(kinds))
        for kind, values in found.items():
            layers = ["layers"] if kinds[kind].layer_values else []
            expected = {*kinds[kind].values, *layers}
            self.assertEqual(set(values), expected)
            for layer in values.get("layers", ()):
                declared = {"name", *kinds[kind].layer_values}
                self.assertContainsSubset(layer, declared)
                self.assertContainsSubset(declared - kinds[kind].optional, layer)
            self.assertNotEqual(values.get("layers"), [])
            record = {"step": 5, "kind": kind, **values}
            self.assertEqual(records.decode(records.encode(record)), record)

    @parameterized.parameters(*NAMES)
    def test_measures_the_step_changes_nothing_and_traces_once(self, name):
        expected = json.dumps(self.records(name))
        kept = [v.numpy() for v in self.model.variables]
        for variable in self.model.trainable_variables:
            variable.assign(7.0 * variable + 1.0)  # not what the step has
        before = [v.numpy() for v in self.model.variables]
        attributes = [set(vars(layer)) for layer in self.model.layers]
        keras.utils.set_random_seed(9)
        calls = Counting.calls
        again = self.meters[name].measure(self.step)
        other = self.step._replace(
            step=6, batch=_batch(4), before=_moved(self.step.before, 0.1, seed=1)
        )
        self.meters[name].measure(other)
        self.assertEqual(Counting.calls, calls)
        self.assertEqual(json.dumps(again), expected)
        for value, variable in zip(before, self.model.variables, strict=True):
            self.assertAllEqual(value, variable)
        self.assertEqual(attributes, [set(vars(la)) for la in self.model.layers])
        drawn = keras.random.normal((3,)).numpy()
        keras.utils.set_random_seed(9)
        self.assertAllEqual(drawn, keras.random.normal((3,)))
        for value, variable in zip(kept, self.model.variables, strict=True):
            variable.assign(value)

    @parameterized.parameters(*NAMES)
    def test_values_that_are_not_finite_are_recorded(self, name):
        self.records(name)
        x, y = self.step.batch
        nan = {n: (np.nan * x, y) for n in ("batch", "next_batch", "probe")}
        found = self.meters[name].measure(self.step._replace(**nan))
        for kind in registry[name].kinds:
            values = found[kind.name]
            records.encode({"step": 5, "kind": kind.name, **values})
            if kind.divergence is not None:
                parts = [values] if kind.divergence in kind.values else values["layers"]
                ends = [part[kind.divergence] for part in parts]
                # The first layer's shift is 0 by definition, of whatever gradient.
                self.assertFalse(np.isfinite(ends[-1]), kind.name)

    @parameterized.parameters(*NAMES)
    def test_wrong_options(self, name):
        diagnostic = registry[name]
        for option in diagnostic.options:
            self.assertEqual(option.checked(option.default), option.default)
            wrong = {bool: "yes", str: "nonsense", tuple: (-1,)}.get(option.type, -1)
            with self.assertRaisesRegex(
                ValueError, f"{option.name} must be .*Received"
            ):
                self.meter(name, **{option.name: wrong})
        with self.assertRaisesRegex(
            ValueError, f"options of {name} must be .*Received: nothing=3"
        ):
            self.meter(name, nothing=3)

    @parameterized.parameters(*NAMES)
    def test_needs(self, name):
        options = _OPTIONS.get(name, {})
        needs, meter = registry[name].needs, self.meter(name, **options)
        self.assertGreater(meter.cost.passes, 0.0)
        if diagnostics.Need.LEARNING_RATE in needs:
            self.assertEqual(meter.measure(self.step._replace(learning_rate=0.0)), {})
        if diagnostics.Need.SECOND_MODEL in needs:
            with self.assertRaisesRegex(ValueError, "second_model must be given"):
                registry[name].meter(self.model, cross_entropy)
        if diagnostics.Need.TRAINING_MODE not in needs:
            self.meter(name, training=False, **options)
            with self.assertRaisesRegex(ValueError, "training='no'"):
                registry[name].meter(self.model, cross_entropy, training="no")

    def test_names_that_a_kind_mentions_are_its_own(self):
        for kind in KINDS:
            values, layers = set(kind.values), set(kind.layer_values)
            totals = {v for v in kind.totals.values() if isinstance(v, str)}
            self.assertContainsSubset(totals, values)
            self.assertContainsSubset(kind.without_bands, values)
            self.assertContainsSubset(kind.layer_columns.values(), layers)
            self.assertContainsSubset(kind.optional, values | layers)
            self.assertIn(kind.divergence, values | layers | {None})

    @pytest.mark.long
    def test_every_figure_is_drawn_from_the_records(self):
        rows = [
            {"step": 5, "kind": kind, **values}
            for name in NAMES
            for kind, values in self.records(name).items()
        ]
        declared = dict.fromkeys(name for kind in KINDS for name in kind.figures)
        self.assertEqual(list(plots.figures({"a": rows})), list(declared))

    def test_options_of_a_run(self):
        # Names and defaults that flags of train.py and run directories rely on.
        flags = {}
        for diagnostic in registry.values():
            if diagnostic.during_training:
                self.assertEqual(diagnostic.every.name, f"{diagnostic.name}_every")
                flags |= {f: o.default for f, o in diagnostic.flags.items()}
        self.assertEqual(
            flags,
            {
                "ics_update": "optimizer",
                "ics_kernels": False,
                "landscape_low": 0.5,
                "landscape_high": 4.0,
                "landscape_points": 8,
                "landscape_directions": "gradient",
                "activations_unit": 0,
                "curvature_iterations": 20,
                "curvature_per_layer": False,
                "noise_scale_parts": 4,
                "replication_convolutions": (5,),
            },
        )
        self.assertEqual(
            list(registry["surface_2d"].flags), ["surface_radius", "surface_points"]
        )

    def test_records_are_of_the_state_before_the_step_and_of_its_batch(self):
        before, after, batch = self.step.before, self.step.after, self.step.batch
        for name, kind, arguments in (
            ("curvature", "curvature", (before, *batch)),
            ("replication", "replication", (before, after, batch, _batch(2))),
            ("ics", "ics", (before, after.parameters, *batch)),
            ("theory", "theory", (before, *batch)),
        ):
            values = self.records(name)[kind]
            result = self.meters[name](*arguments)
            if name == "curvature":
                self.assertEqual(values, result.record())
            else:
                self.assertEqual(values["layers"], [r._asdict() for r in result])
            if name == "ics":
                total = diagnostics.total_shift(result).distance
                self.assertEqual(values["total"]["distance"], total)
        found = self.records("noise_scale")["noise_scale"]
        expected = self.meters["noise_scale"](before, *batch, seed=5).record()
        self.assertEqual(found, expected)

    def test_landscape_of_every_direction(self):
        found = self.records("landscape")
        meters = self.meters["landscape"]._meters
        for meter, (kind, values) in zip(meters, found.items(), strict=True):
            self.assertAllClose(values["step_sizes"], [0.05, 0.4])
            self.assertEqual(values["learning_rate"], RATE)
            options = {"step_sizes": values["step_sizes"], "seed": 5}  # the step
            expected = meter(self.step.before, *self.step.batch, **options).record()
            self.assertEqual(values, {"learning_rate": RATE, **expected}, kind)

    def test_activations_change_and_drift_on_the_probe_batch(self):
        self.records("activations")
        meter = self.meters["activations"]
        meter.memory = activations.FirstActivations()
        later = self.step._replace(
            before=self.step.after, after=_moved(self.step.after, 0.3)
        )
        first, second = (
            meter.measure(step)["activations"]["layers"] for step in (self.step, later)
        )
        before, after, last = (
            [layer.mean for layer in meter(state, self.step.probe[0])]
            for state in (self.step.before, later.before, later.after)
        )
        for i, (one, two) in enumerate(zip(first, second, strict=True)):
            change = np.mean(np.abs(after[i] - before[i]))
            self.assertAllClose(one["mean"], np.mean(before[i]), atol=ATOL)
            self.assertAllClose(one["mean_change"], change, atol=ATOL)
            self.assertEqual(one["mean_drift"], 0.0)
            # From the first measurement, not from before this step's update.
            self.assertAllClose(two["mean_drift"], change, atol=ATOL)
            change = np.mean(np.abs(last[i] - after[i]))
            self.assertAllClose(two["mean_change"], change, atol=ATOL)
        self.assertGreater(max(layer["mean_drift"] for layer in second), 0.01)

    def test_surfaces_at_their_radii(self):
        line = self.records("surface")["surface"]
        plane = self.records("surface_2d")["surface_2d"]
        for values in (line, plane):
            self.assertEqual(values["radii"], [-1.0, 1.0])
        self.assertEqual(np.shape(line["losses"]), (2,))
        self.assertEqual(np.shape(plane["losses"]), (2, 2))
        # The first direction does not depend on whether there is a second one.
        (direction,) = diagnostics.filter_normalized_directions(
            self.step.before.parameters
        )
        expected = self.meters["surface"](
            self.step.before,
            *self.step.batch,
            radii=[-1.0, 0.0, 1.0],
            directions=[direction],
        )
        self.assertAllClose(line["losses"], expected.losses[[0, 2]], rtol=RTOL)

    def test_costs(self):
        for name, options, cost in (
            # A pass at the point itself and one at each step size.
            ("landscape", {"points": 3, "directions": "gradient"}, (4.0, 2)),
            ("landscape", {"points": 3, "directions": "random"}, (4.0, 3)),
            ("landscape", {"points": 3, "directions": "both"}, (8.0, 3)),
            # A third of a pass, forward only, at each point.
            ("surface", {"points": 3}, (1.0, 2)),
            ("surface_2d", {"points": 3}, (3.0, 3)),
            # Forward passes of two states, and as much for their moments.
            ("activations", {}, (4.0 / 3.0, 0)),
            # Two gradients, and two for each convolution.
            ("replication", {"convolutions": (1,)}, (4.0, 3)),
        ):
            self.assertAllClose(tuple(self.meter(name, **options).cost), cost)


if __name__ == "__main__":
    tf.test.main()
