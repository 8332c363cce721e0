"""Tests of the archive of an experiment's records."""

import gzip
import math
import os
import tempfile

import tensorflow as tf
from absl.testing import parameterized

from tfbn.experiment import TrainConfig
from tfbn.recording.records import RecordWriter
from tfbn.reproduction import archive
from tfbn.reproduction.plan import Run

_KEPT = {"kinds": ("train", "eval", "activations", "landscape"), "histograms": ["a"]}
_ABOUT = {"date": "2020-01-01", "versions": {"tfbn": "1.2.3"}}


class ArchiveTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.path = os.path.join(self.folder, "records", "experiment.jsonl.gz")

    def _run(self, label, seed, *records):
        run_dir = os.path.join(self.folder, f"{label}{seed}")
        with RecordWriter(run_dir) as writer:
            for step, (kind, values) in enumerate(records, start=1):
                writer.write(kind, step, **values)
        return Run(label, TrainConfig(run_dir=run_dir, seed=seed))

    def _losses(self, *losses):
        return [("train", {"loss": loss}) for loss in losses]

    def _round_trip(self, *runs):
        archive.write(self.path, runs, _ABOUT, **_KEPT)
        return archive.read(self.path, "cpu")

    def test_round_trip(self):
        first = self._run("a", 0, *self._losses(1.0, math.nan, -math.inf, math.inf))
        second = self._run(
            "a", 1, ("eval", {"accuracy": 0.5, "names": ["x", None, True]})
        )
        results = self._round_trip(first, second)
        self.assertEqual(list(results.records), ["a"])
        read_first, read_second = results.records["a"]
        self.assertEqual(
            str(read_first),
            "[{'step': 1, 'kind': 'train', 'loss': 1.0}, "
            "{'step': 2, 'kind': 'train', 'loss': nan}, "
            "{'step': 3, 'kind': 'train', 'loss': -inf}, "
            "{'step': 4, 'kind': 'train', 'loss': inf}]",
        )
        expected = {"accuracy": 0.5, "names": ["x", None, True]}
        self.assertEqual(read_second, [{"step": 1, "kind": "eval", **expected}])
        self.assertEqual(results.scale, "cpu")
        self.assertContainsSubset(_ABOUT, results.about)

    def test_labels_and_seeds_in_the_order_of_the_plan(self):
        runs = [
            self._run(label, seed, *self._losses(10.0 * len(label) + seed))
            for label in ("b", "long", "a")
            for seed in range(3)
        ]
        records = self._round_trip(*runs).records
        self.assertEqual(list(records), ["b", "long", "a"])
        losses = [seed[0]["loss"] for seed in records["long"]]
        self.assertEqual(losses, [40.0, 41.0, 42.0])

    def test_runs_keep_their_seeds(self):
        runs = [self._run("a", seed, *self._losses(1.0 + seed)) for seed in (10, 12)]
        results = self._round_trip(*runs)
        self.assertEqual(results.seeds_of("a"), [10, 12])
        self.assertEqual([run[0]["loss"] for run in results.records["a"]], [11.0, 13.0])

    def test_numbers_have_five_digits(self):
        values = {
            "loss": 1.23456789,
            "small": -1.23456789e-20,
            "many": [[123456.789], {"x": 0.1 + 0.2}],
            "count": 123456789,
        }
        (record,) = self._round_trip(self._run("a", 0, ("train", values))).records["a"][
            0
        ]
        self.assertEqual(record["loss"], 1.2346)
        self.assertEqual(record["small"], -1.2346e-20)
        self.assertEqual(record["many"], [[123460.0], {"x": 0.3}])
        self.assertEqual(record["count"], 123456789)

    def test_what_is_left_out(self):
        layer = {"name": "x", "mean": 1.0, "histogram": {"edges": [0], "counts": [2]}}
        runs = [
            self._run(
                label,
                seed,
                ("activations", {"layers": [layer]}),
                ("landscape", {"beta": 2.0, "learning_rate": 0.1, "layers": [layer]}),
                ("train", {"loss": 1.0, "learning_rate": 0.1}),
            )
            for label in "ab"
            for seed in range(2)
        ]
        records = self._round_trip(*runs).records
        without = {"name": "x", "mean": 1.0}
        expected = {"a": [[layer], [without]], "b": [[without]] * 2}
        for label, seeds in records.items():
            layers = [activations["layers"] for activations, _, _ in seeds]
            self.assertEqual(layers, expected[label])
            for _, landscape, train in seeds:
                self.assertEqual(
                    landscape,
                    {"step": 2, "kind": "landscape", "beta": 2.0, "learning_rate": 0.1},
                )
                self.assertEqual(train, {"step": 3, "kind": "train", "loss": 1.0})

    def test_other_kinds_are_left_out(self):
        run = self._run("a", 0, ("ics", {"layers": []}), *self._losses(1.0))
        (records,) = self._round_trip(run).records["a"]
        self.assertEqual(records, [{"step": 2, "kind": "train", "loss": 1.0}])

    def test_the_same_records_give_the_same_bytes(self):
        run = self._run("a", 0, *self._losses(1.0, 2.0))
        archive.write(self.path, [run], _ABOUT, **_KEPT)
        with open(self.path, "rb") as file:
            before = file.read()
        os.remove(self.path)
        archive.write(self.path, [run], _ABOUT, **_KEPT)
        with open(self.path, "rb") as file:
            after = file.read()
        self.assertEqual(before, after)
        self.assertEqual(before[4:8], bytes(4))  # no time in the head (RFC 1952)

    def test_no_file(self):
        with self.assertRaisesRegex(ValueError, f"No records .* {self.path} does not"):
            archive.read(self.path, "cpu")

    @parameterized.named_parameters(
        ("half", lambda whole: whole[: len(whole) // 2]),
        ("empty", lambda whole: b""),
        ("no_archive", lambda whole: b"x" * 99),
        (
            "a_wrong_byte",
            lambda whole: whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        ),
        ("wrong_sum", lambda whole: whole[:-8] + bytes(8)),
        ("no_record", lambda whole: gzip.compress(b"[1]\n")),
        ("no_text", lambda whole: gzip.compress(b"\xff\n")),
        ("no_label", lambda whole: gzip.compress(b'{"step": 1, "kind": "train"}\n')),
        ("nothing_about", lambda whole: gzip.compress(b"")),
    )
    def test_damaged(self, damage):
        run = self._run("a", 0, *self._losses(1.0, 2.0))
        archive.write(self.path, [run], _ABOUT, **_KEPT)
        with open(self.path, "rb") as file:
            whole = file.read()
        with open(self.path, "wb") as file:
            file.write(damage(whole))
        with self.assertRaisesRegex(ValueError, f"^{self.path} must be an archive of "):
            archive.read(self.path, "cpu")

    def test_a_failed_write_leaves_what_was_there(self):
        run = self._run("a", 0, *self._losses(1.0))
        archive.write(self.path, [run], _ABOUT, **_KEPT)
        lost = Run("b", TrainConfig(run_dir=os.path.join(self.folder, "none")))
        with self.assertRaisesRegex(ValueError, "holds no records.jsonl"):
            archive.write(self.path, [run, lost], _ABOUT, **_KEPT)
        self.assertEqual(list(archive.read(self.path, "cpu").records), ["a"])
        self.assertEqual(
            os.listdir(os.path.dirname(self.path)), ["experiment.jsonl.gz"]
        )


if __name__ == "__main__":
    tf.test.main()
