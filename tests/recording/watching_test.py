"""Tests of tfbn.recording.watching."""

from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tfbn.diagnostics.instruments import Instrument

from tfbn import data
from tfbn.diagnostics.measurement import Cost
from tfbn.experiment import TrainConfig
from tfbn.experiment import _trainer
from tfbn.experiment import builders
from tfbn.experiment import task
from tfbn.recording import watching
from tfbn.recording.cadence import Cadence

_EVERY = {
    "ics": 2,
    "landscape": 3,
    "activations": 4,
    "curvature": 5,
    "theory": 6,
    "replication": 7,
}


class WatchesTest(tf.test.TestCase, parameterized.TestCase):
    def test_one_for_each_measurement_at_its_steps(self):
        every = {f"{name}_every": steps for name, steps in _EVERY.items()}
        watches = _watches(**every, diagnostics_spacing="log")
        found = {w.instrument.name: w.cadence.every for w in watches}
        self.assertEqual(found, _EVERY)
        self.assertEqual({w.cadence.spacing for w in watches}, {"log"})
        self.assertEqual([w.seconds for w in watches], [[]] * 6)

    @parameterized.parameters(*_EVERY)
    def test_zero_is_never(self, name):
        (watch,) = _watches(**{f"{name}_every": 1})
        self.assertEqual(watch.instrument.name, name)

    def test_none_by_default(self):
        self.assertEqual(_watches(), [])

    @parameterized.parameters(
        ("covariate_shift", {"ics_every": 1, "ics_update": "sgd"}, {"update": "sgd"}),
        (
            "landscape",
            {
                "landscape_every": 1,
                "landscape_low": 0.1,
                "landscape_high": 7.0,
                "landscape_points": 5,
                "landscape_directions": "random",
            },
            {"low": 0.1, "high": 7.0, "num": 5, "directions": "random"},
        ),
        ("activations", {"activations_every": 1, "activations_unit": 3}, {"unit": 3}),
        (
            "curvature",
            {
                "curvature_every": 1,
                "curvature_iterations": 9,
                "curvature_per_layer": True,
            },
            {"iterations": 9, "per_layer": True},
        ),
        ("theory", {"theory_every": 1}, {}),
        (
            "replication",
            {"replication_every": 1, "replication_convolutions": (2, 5)},
            {"layers": ["conv2", "conv5"]},
        ),
    )
    def test_options_reach_the_instrument(self, maker, options, expected):
        with mock.patch.object(watching.instruments, maker) as make:
            _watches(**options, jit_compile=True)
        self.assertEqual(make.call_args.kwargs, {**expected, "jit_compile": True})

    def test_second_network_of_the_replication_is_another_one(self):
        with mock.patch.object(watching.instruments, "replication") as make:
            _watches(replication_every=1)
        model, _, other = make.call_args.args
        own = model.trainable_variables
        self.assertEqual([v.shape for v in own], [v.shape for v in other])
        self.assertNotAllClose(own[0], other[0])

    def test_second_network_of_the_replication_starts_as_the_options_have_it(self):
        options = {"kernel_initializer": "ones", "kernel_scale": 0.5}
        with mock.patch.object(watching.instruments, "replication") as make:
            _watches(replication_every=1, **options)
        _, _, other = make.call_args.args
        kernels = [v.numpy() for v in other if v.name == "kernel"]
        self.assertLen(kernels, 9)
        for kernel in kernels:
            self.assertAllEqual(kernel, np.full(kernel.shape, 0.5))

    def test_makers_take_further_options(self):
        config, model, loss, _ = _network(activations_unit=3, ics_update="sgd")
        makers = watching.makers(config, model, loss)
        self.assertEqual(list(makers), [n for n in _EVERY if n != "replication"])
        for name, maker, given, expected in (
            ("activations", "activations", {"drift": False}, {"unit": 3}),
            ("ics", "covariate_shift", {"update": "optimizer"}, {}),
        ):
            with mock.patch.object(watching.instruments, maker) as make:
                watching.makers(config, model, loss)[name](**given)
            self.assertEqual(make.call_args.kwargs, given | expected)


class WatchTest(tf.test.TestCase):
    def test_writes_each_kind_with_the_step(self):
        watch, moment = _watch({"a": {"x": 1.0}, "b": {"layers": []}}), mock.Mock()
        moment.step, write = 17, mock.Mock()
        watch.measure(moment, write)
        expected = [mock.call("a", 17, {"x": 1.0}), mock.call("b", 17, {"layers": []})]
        self.assertEqual(write.call_args_list, expected)

    def test_seconds_hold_writing_too(self):
        watch, moment = _watch({"a": {}}), mock.Mock(step=0)
        times = iter([100.0, 100.5, 200.0, 202.0])
        with mock.patch.object(watching.time, "perf_counter", lambda: next(times)):
            watch.measure(moment, mock.Mock())
            watch.measure(moment, mock.Mock())
        self.assertEqual(watch.seconds, [0.5, 2.0])

    def test_announced(self):
        watch = _watch({}, Cost(passes=2.25, copies=3), Cadence(10))
        self.assertEqual(
            watching.announced(watch, num_bytes=2**22),
            "Measuring example every 10 steps; each about 2.2 forward and backward "
            "passes, 12 MiB.",
        )
        watch = watch._replace(cadence=Cadence(20, "log"))
        line = watching.announced(watch, num_bytes=2**22)
        self.assertIn("every 20 steps and later less often; ", line)

    def test_summed_up(self):
        watch = _watch({})
        self.assertIsNone(watching.summed_up(watch))
        watch.seconds.append(8.0)
        line = "Measured example 1 times, 8.00 s each (the first 8.0 s)."
        self.assertEqual(watching.summed_up(watch), line)
        watch.seconds.extend([0.5, 0.1, 0.25])
        line = "Measured example 4 times, 0.25 s each (the first 8.0 s)."
        self.assertEqual(watching.summed_up(watch), line)


def _watch(records, cost=None, cadence=None):
    instrument = Instrument("example", cost or Cost(1.0, 0), lambda _: records)
    return watching.Watch(instrument, cadence or Cadence(1), [])


def _watches(jit_compile=False, **options):
    config, model, loss, dataset = _network(**options)
    return _trainer._watches(
        config,
        model,
        mock.Mock(loss=loss),
        dataset,
        "auto" if not jit_compile else True,
    )


def _network(**options):
    config = TrainConfig(
        dataset="shapes", norm="batch_norm", width=0.05, hidden_units=(), **options
    )
    dataset = data.shapes(num_train=10, num_test=10)
    model = builders.build_model(config, dataset)
    return config, model, task.task_of(dataset).loss, dataset


if __name__ == "__main__":
    tf.test.main()
