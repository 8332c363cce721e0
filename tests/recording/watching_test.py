"""Tests of tfbn.recording.watching."""

from unittest import mock

import keras
import tensorflow as tf

from tests.testing_utils import cross_entropy
from tfbn import models
from tfbn.diagnostics import Meter
from tfbn.diagnostics import registry
from tfbn.diagnostics.measurement import Cost
from tfbn.recording import watching
from tfbn.recording.cadence import Cadence


class _Meter(Meter):
    def __init__(self, records, cost):
        self._records, self._cost = records, cost

    @property
    def cost(self):
        return self._cost

    def measure(self, step):
        return self._records


class WatchesTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)
        self.model = models.vgg(width=0.05, input_shape=(32, 32, 3))

    def watches(self, every, **options):
        return watching.watches(every, self.model, cross_entropy, **options)

    def test_one_for_each_diagnostic_at_its_steps(self):
        every = {name: i + 1 for i, name in enumerate(reversed(registry))}
        watches = self.watches(every, spacing="log", second_model=lambda: self.model)
        self.assertEqual([w.name for w in watches], list(registry))
        self.assertEqual({w.name: w.cadence.every for w in watches}, every)
        self.assertEqual({w.cadence.spacing for w in watches}, {"log"})
        self.assertEqual([w.seconds for w in watches], [[]] * len(registry))

    def test_zero_is_never(self):
        (watch,) = self.watches({"ics": 0, "theory": 3})
        self.assertEqual(watch.name, "theory")

    def test_options_reach_the_meter(self):
        options = {"landscape": {"points": 3}, "curvature": {"iterations": 5}}
        landscape, curvature = self.watches(
            {"landscape": 1, "curvature": 1}, options=options
        )
        self.assertEqual(landscape.meter.cost.passes, 4.0)
        self.assertEqual(curvature.meter.cost.passes, 15.0)

    def test_common_arguments_reach_the_meters(self):
        made = {}
        for name in registry:
            with mock.patch.object(type(registry[name]), "meter") as meter:
                self.watches({name: 1}, jit_compile=True, training=False)
            made[name] = meter.call_args.kwargs
        for arguments in made.values():
            self.assertTrue(arguments["jit_compile"])
            self.assertFalse(arguments["training"])

    def test_second_model_is_made_when_it_is_needed(self):
        second_model = mock.Mock(return_value=self.model)
        self.watches({"ics": 1, "replication": 0}, second_model=second_model)
        second_model.assert_not_called()
        self.watches({"replication": 1}, second_model=second_model)
        second_model.assert_called_once()
        with self.assertRaisesRegex(ValueError, "second_model must be given"):
            self.watches({"replication": 1})

    def test_errors(self):
        for every, options, message in (
            ({"isc": 1}, {}, "diagnostics must be .*Did you mean 'ics'"),
            ({"ics": -1}, {}, "every=-1"),
            ({"ics": 1}, {"options": {"isc": {}}}, "Did you mean 'ics'"),
            ({"ics": 1}, {"options": {"ics": {"update": "adam"}}}, "update='adam'"),
            ({"ics": 1}, {"spacing": "cubic"}, "spacing='cubic'"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                self.watches(every, **options)


class WatchTest(tf.test.TestCase):
    def test_writes_each_kind_with_the_step_and_takes_the_time(self):
        watch, write = _watch({"a": {"x": 1.0}, "b": {"layers": []}}), mock.Mock()
        times = iter([100.0, 100.5, 200.0, 202.0])
        with mock.patch.object(watching.time, "perf_counter", lambda: next(times)):
            for step in (17, 18):
                watch.measure(mock.Mock(step=step), write)
        expected = [("a", 17, {"x": 1.0}), ("b", 17, {"layers": []})]
        expected += [(kind, 18, values) for kind, _, values in expected]
        self.assertEqual([call.args for call in write.call_args_list], expected)
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


def _watch(records, cost=Cost(1.0, 0), cadence=None):  # noqa: B008  it is immutable
    return watching.Watch("example", _Meter(records, cost), cadence or Cadence(1), [])


if __name__ == "__main__":
    tf.test.main()
