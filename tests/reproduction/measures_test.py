"""Tests of the numbers that claims compare, on records made by hand."""

import math

import tensorflow as tf
from absl.testing import parameterized

from tfbn.reproduction import measures
from tfbn.reproduction.results import Results
from tfbn.reproduction.results import layer_at

_INF, _NAN = math.inf, math.nan


def _records(kind, name, values, first=10):
    return [
        {"step": first * i, "kind": kind, name: value}
        for i, value in enumerate(values, start=1)
    ]


def _layers(*entries):
    """Records of the layers a, b and c at the steps 10, 20, ..."""
    return [
        {
            "step": 10 * i,
            "kind": "ics",
            "layers": [
                {"name": name, "distance": value}
                for name, value in zip("abc", values, strict=True)
            ],
        }
        for i, values in enumerate(entries, start=1)
    ]


class OverTest(tf.test.TestCase, parameterized.TestCase):
    def _of(self, records, value="loss", kind="train", **options):
        return measures.over(kind, value, what="loss", **options).of(records)

    def test_median_of_the_run(self):
        records = _records("train", "loss", [5.0, 1.0, 4.0, 2.0, 9.0])
        self.assertEqual(self._of(records), 4.0)
        self.assertEqual(self._of(records, reduce=max), 9.0)

    def test_other_kinds_and_records_without_the_value_do_not_count(self):
        records = _records("train", "loss", [1.0, None, 3.0])
        records += _records("eval", "loss", [100.0]) + _records("train", "other", [7.0])
        self.assertEqual(self._of(records), 2.0)

    @parameterized.parameters(
        ((0.0, 0.2), [1]),
        ((0.75, 1.0), [4]),
        ((0.8, 1.0), [4]),
        ((0.4, 0.6), [2, 3]),
        ((0.0, 1.0), [1, 2, 3, 4]),
    )
    def test_part_of_the_run(self, part, expected):
        # The run is as long as its longest kind: to step 50.
        records = _records("train", "loss", [1, 2, 3, 4]) + _records(
            "eval", "x", [0], 50
        )
        self.assertEqual(self._of(records, part=part, reduce=sum), sum(expected))

    def test_steps(self):
        records = _records("train", "loss", [1, 2, 3, 4])
        self.assertEqual(self._of(records, steps=(20, 30), reduce=sum), 5)
        self.assertEqual(
            self._of(records, steps=(20, math.inf), part=(0.0, 0.8), reduce=sum), 5
        )

    def test_nothing_in_that_part(self):
        records = _records("train", "loss", [1.0, 2.0])
        self.assertTrue(math.isnan(self._of(records, part=(0.0, 0.2))))
        self.assertTrue(math.isnan(self._of([])))

    @parameterized.parameters((0.0, 1.0), (0.3, 2.0), (0.5, 2.0), (1.0, 3.0))
    def test_layer_at_a_share_of_the_depth(self, share, expected):
        records = _layers((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))
        found = self._of(records, "distance", "ics", layer=share)
        self.assertEqual(found, expected)
        # A function is of the layer's entry, which has the step.
        found = self._of(
            records, lambda e: e["distance"] + e["step"], "ics", layer=share, reduce=min
        )
        self.assertEqual(found, expected + 10)

    def test_no_layers(self):
        self.assertTrue(math.isnan(self._of([], "distance", "ics", layer=0.5)))

    def test_what_is_not_finite_is_infinite_or_left_out(self):
        for bad in (_NAN, _INF, -_INF):
            records = _records("train", "loss", [1.0, bad, bad])
            self.assertEqual(self._of(records), _INF)
            self.assertEqual(self._of(records, undefined=_NAN), 1.0)
            self.assertEqual(self._of(records, undefined=0.0), 0.0)
        records = _records("train", "loss", [_NAN, _NAN])
        self.assertTrue(math.isnan(self._of(records, undefined=_NAN)))

    def test_a_function_of_the_record(self):
        records = _records("train", "loss", [1.0, 2.0, 3.0])
        values = {1.0: 10.0, 2.0: None, 3.0: 30.0}
        self.assertEqual(self._of(records, lambda r: values[r["loss"]]), 20.0)


class OthersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0.2, 10), (0.5, 20), (0.51, 40), (0.9, _INF))
    def test_steps_to(self, accuracy, expected):
        records = _records("train", "accuracy", [0.3, 0.5, 0.4, 0.8])
        records += _records("eval", "accuracy", [1.0], first=5)
        self.assertEqual(measures.steps_to(accuracy).of(records), expected)
        self.assertEqual(measures.steps_to(accuracy, kind="eval").of(records), 5)

    def test_steps_to_of_a_run_without_accuracy(self):
        records = _records("train", "loss", [0.3])
        self.assertTrue(math.isnan(measures.steps_to(0.5).of(records)))

    def test_steps_to_what_is_never_reached_may_be_the_whole_run(self):
        records = _records("train", "accuracy", [0.3, 0.5, 0.4, 0.8])
        censored = [measures.steps_to(a, censored=True).of(records) for a in (0.5, 0.9)]
        self.assertEqual(censored, [20, 40])

    def test_geometric_mean(self):
        self.assertAllClose(measures.geometric_mean([1.0, 10.0, 100.0]), 10.0)
        self.assertEqual(measures.geometric_mean([1.0, 0.0]), 0.0)

    def test_mean_over_layers(self):
        of = measures.mean_over_layers(lambda e: e["distance"])
        first, second, third = _layers((1.0, 2.0, 6.0), (1.0, None, 2.0), (None,) * 3)
        self.assertEqual((of(first), of(second), of(third)), (3.0, 1.5, None))

    def test_accuracies_and_losses_of_all_experiments(self):
        values = [0.0] * 12 + [0.5, 0.75, 0.7, 0.65, 0.9, 0.8, 0.7, 0.5, 0.25]
        records = _records("eval", "accuracy", values[:16])  # to step 160
        self.assertAlmostEqual(measures.TEST_ACCURACY.of(records), 0.52)
        records = _records("train", "accuracy", values[:20])  # to step 200
        self.assertAlmostEqual(measures.TRAINING_ACCURACY.of(records), 2.0 / 3)
        records = _records("train", "loss", values[:20])
        self.assertAlmostEqual(measures.TRAINING_LOSS.of(records), 2.0 / 3)

    def test_text(self):
        measure = measures.over("train", "loss", what="loss")
        self.assertEqual(measure.text(1234.5), "1.23e+03")
        self.assertEqual(measure.text(_NAN), "not measured")
        self.assertEqual(measure.text(_INF), "not finite")
        self.assertEqual(measures.TEST_ACCURACY.text(0.12345), "12.3%")
        steps = measures.steps_to(0.35, kind="eval")
        self.assertEqual((steps.text(250.0), steps.text(_INF)), ("250", "never"))
        self.assertEqual(steps.what, "steps to a test accuracy of 35%")


class ResultsTest(tf.test.TestCase):
    def test_groups_and_first_seeds(self):
        results = Results("cpu", {"a": [[1], [2]], "b": [[3], [4]], "c": [[5]]})
        self.assertEqual(
            results.groups({"B": "b", "C": "c"}), {"B": [[3], [4]], "C": [[5]]}
        )
        self.assertEqual(results.first({"B": "b", "A": "a"}), {"B": [3], "A": [1]})

    def test_some_seeds(self):
        runs = {"a": [[0], [1], [2]], "b": [[12], [11]]}
        results = Results("cpu", runs, {"date": "1"}, {"b": [12, 11]})
        self.assertEqual([*results.seeds_of("a")], [0, 1, 2])
        self.assertEqual(results.seeds_of("b"), [12, 11])
        kept = results.only({1, 2, 11})
        self.assertEqual(kept.records, {"a": [[1], [2]], "b": [[11]]})
        self.assertEqual((kept.seeds_of("a"), kept.seeds_of("b")), ([1, 2], [11]))
        self.assertEqual(kept.about, {"date": "1"})

    def test_layers_of_networks_of_different_depths(self):
        # The paper's layers 5 and 10 of 14, among as many and among nine.
        for depth, expected in ((14, (4, 9)), (9, (2, 6))):
            found = [layer_at(range(depth), share) for share in (4 / 13, 9 / 13)]
            self.assertEqual(tuple(found), expected)
        results = Results("cpu", {"net": [_layers((1.0, 2.0, 3.0))]})
        self.assertEqual(results.layer("net", "ics", 0.6), "b")


if __name__ == "__main__":
    tf.test.main()
