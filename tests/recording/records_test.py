"""Tests of tfbn.recording.records."""

import gzip
import json
import math
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.testing_utils import files_of_at_most
from tfbn.recording import records

_LAYERS = [
    {"name": "conv1", "distance": 0.0, "cosine": 1.0, "norm": 2.0, "norm_after": 2.0},
    {"name": "conv2", "distance": 0.5, "cosine": 0.9, "norm": 1.5, "norm_after": 1.0},
]


class RecordsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.run_dir = os.path.join(self.get_temp_dir(), "runs", "vgg")
        self.path = os.path.join(self.run_dir, "records.jsonl")

    def _write_text(self, text):
        os.makedirs(self.run_dir, exist_ok=True)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def _read_text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def test_round_trip(self):
        with records.RecordWriter(self.path) as writer:
            writer.write("train", 20, loss=1.9, accuracy=0.31, learning_rate=0.1)
            writer.write("ics", 40, layers=_LAYERS)
        expected = [
            {
                "step": 20,
                "kind": "train",
                "loss": 1.9,
                "accuracy": 0.31,
                "learning_rate": 0.1,
            },
            {"step": 40, "kind": "ics", "layers": _LAYERS},
        ]
        self.assertEqual(records.read_records(self.path), expected)
        self.assertEqual(records.read_records(self.run_dir), expected)
        self.assertEqual(records.read_records(self.run_dir, "ics"), expected[1:])
        self.assertEqual(records.read_records(self.run_dir, "eval"), [])

    def test_a_record_that_does_not_fit_leaves_no_part(self):
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("train", 1, loss=1.0)
            before = self._read_text()
            with files_of_at_most(len(before) + 20):
                with self.assertRaises(OSError) as raised:
                    writer.write("ics", 2, layers=_LAYERS)
            self.assertEqual(raised.exception.filename, self.path)
            self.assertEqual(self._read_text(), before)
            writer.write("train", 3, loss=0.5)
        steps = [record["step"] for record in records.read_records(self.run_dir)]
        self.assertEqual(steps, [1, 3])

    def test_numpy_values_become_plain_numbers(self):
        with records.RecordWriter(self.run_dir) as writer:
            writer.write(
                "eval",
                np.int64(3),
                loss=np.float32(0.5),
                count=np.int32(7),
                done=np.bool_(True),
                values=np.array([1.5, np.nan]),
                nested={"pair": (np.float64(1.0), None)},
            )
        (record,) = records.read_records(self.run_dir)
        self.assertIs(type(record["step"]), int)
        self.assertIs(type(record["count"]), int)
        self.assertIs(record["done"], True)
        self.assertEqual(record["loss"], 0.5)
        self.assertEqual(record["values"][0], 1.5)
        self.assertTrue(math.isnan(record["values"][1]))
        self.assertEqual(record["nested"], {"pair": [1.0, None]})

    def test_non_finite_values_are_strict_json_and_come_back_as_floats(self):
        values = [math.nan, math.inf, -math.inf, np.float32("inf")]
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("train", 1, loss=math.nan, layers=[{"values": values}])

        def refuse(constant):
            self.fail(f"{constant} is not strict JSON")

        raw = json.loads(self._read_text(), parse_constant=refuse)
        self.assertEqual(raw["loss"], "NaN")
        self.assertEqual(
            raw["layers"][0]["values"], ["NaN", "Infinity", "-Infinity", "Infinity"]
        )
        (record,) = records.read_records(self.run_dir)
        self.assertTrue(math.isnan(record["loss"]))
        self.assertAllEqual(record["layers"][0]["values"], values)

    def test_file_appears_with_the_first_write_and_every_line_is_flushed(self):
        with records.RecordWriter(self.run_dir) as writer:
            self.assertFalse(os.path.exists(self.run_dir))
            writer.write("eval", 0, loss=2.0)
            self.assertLen(records.read_records(self.run_dir), 1)
            writer.write("eval", 1, loss=1.0)
            self.assertLen(records.read_records(self.run_dir), 2)

    def test_a_compressed_file_is_read_in_place_of_one_that_is_not_there(self):
        lines = '{"step": 1, "kind": "eval"}\n' * 2 + '{"step":'
        os.makedirs(self.run_dir)
        with gzip.open(f"{self.path}.gz", "wt", encoding="utf-8") as file:
            file.write(lines)
        expected = [{"step": 1, "kind": "eval"}]
        self.assertEqual(records.read_records(self.run_dir), expected)
        self.assertEqual(records.read_records(f"{self.path}.gz"), expected)
        self.assertEqual(records.read_runs([self.run_dir]), {"vgg": expected})
        self._write_text("")
        self.assertEqual(records.read_records(self.run_dir), [])

    def test_truncated_last_line_is_left_out_with_a_warning(self):
        self._write_text('{"step": 1, "kind": "eval", "loss": 2.0}\n{"step": 2, "ki')
        with self.assertLogs("absl", "WARNING") as logs:
            read = records.read_records(self.run_dir)
        self.assertEqual([record["step"] for record in read], [1])
        self.assertRegex(logs.output[0], r"records\.jsonl: line 2 is incomplete")

    @parameterized.named_parameters(
        ("no_json", "{oops"),
        ("no_object", "17"),
        ("no_step", '{"kind": "eval"}'),
        ("no_kind", '{"step": 3}'),
        ("blank", ""),
    )
    def test_damage_elsewhere_is_an_error_with_the_line_number(self, damage):
        good = '{"step": 1, "kind": "eval"}'
        self._write_text(f"{good}\n{damage}\n{good}\n")
        with self.assertRaisesRegex(ValueError, r"records\.jsonl, line 2: "):
            records.read_records(self.run_dir)

    def test_missing_file_names_what_was_received_and_what_is_expected(self):
        with self.assertRaisesRegex(
            ValueError,
            r"runs/vgg holds no records\.jsonl; pass a run directory made by "
            r"scripts/train\.py",
        ):
            records.read_records(self.run_dir)

    def test_continuing_after_a_kill_replaces_the_half_line(self):
        self._write_text('{"step": 1, "kind": "eval"}\n{"step": 2, "ki')
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("eval", 2)
        steps = [record["step"] for record in records.read_records(self.run_dir)]
        self.assertEqual(steps, [1, 2])
        self.assertLen(self._read_text().splitlines(), 2)

    def test_continuing_keeps_a_whole_line_without_line_end(self):
        self._write_text('{"step": 1, "kind": "eval"}')
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("eval", 2)
        steps = [record["step"] for record in records.read_records(self.run_dir)]
        self.assertEqual(steps, [1, 2])

    def test_continuing_a_file_of_one_half_line(self):
        self._write_text('{"st')
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("eval", 2)
        self.assertLen(records.read_records(self.run_dir), 1)

    def test_later_record_of_the_same_kind_and_step_wins(self):
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("train", 10, loss=1.0)
            writer.write("train", 20, loss=2.0)
            writer.write("eval", 20, loss=3.0)
        with records.RecordWriter(self.run_dir) as writer:
            writer.write("train", 20, loss=4.0)
        read = records.read_records(self.run_dir)
        self.assertEqual(
            [(r["kind"], r["step"], r["loss"]) for r in read],
            [("train", 10, 1.0), ("eval", 20, 3.0), ("train", 20, 4.0)],
        )

    def test_column(self):
        rows = [
            {"step": 30, "kind": "train", "loss": 1},
            {"step": 10, "kind": "train", "loss": math.nan},
            {"step": 20, "kind": "train"},
            {"step": 25, "kind": "train", "loss": None},
        ]
        steps, values = records.column(rows, "loss")
        self.assertEqual(steps.dtype, np.int64)
        self.assertEqual(values.dtype, np.float64)
        self.assertAllEqual(steps, [10, 30])
        self.assertAllEqual(values, [math.nan, 1.0])
        steps, values = records.column(rows, "accuracy")
        self.assertEqual((steps.shape, values.shape), ((0,), (0,)))

    def test_by_layer(self):
        rows = [
            {"step": 1, "kind": "ics", "layers": _LAYERS},
            {"step": 1, "kind": "train", "loss": 1.0},
            {"step": 2, "kind": "ics", "layers": _LAYERS},
        ]
        layers = records.by_layer(rows)
        self.assertEqual(list(layers), ["conv1", "conv2"])
        steps, values = records.column(layers["conv2"], "distance")
        self.assertAllEqual(steps, [1, 2])
        self.assertAllEqual(values, [0.5, 0.5])
        self.assertEqual(records.by_layer(rows[1:2]), {})

    def test_by_layer_of_another_kind(self):
        rows = [
            {"step": 1, "kind": "ics", "layers": _LAYERS},
            {"step": 2, "kind": "theory", "layers": [{"name": "bn", "norm": 3.0}]},
            {"step": 3, "kind": "theory", "layers": [{"name": "bn", "norm": 4.0}]},
            {"step": 4, "kind": "theory", "layers": []},
            {"step": 5, "kind": "theory"},
        ]
        expected = [
            {"step": 2, "name": "bn", "norm": 3.0},
            {"step": 3, "name": "bn", "norm": 4.0},
        ]
        self.assertEqual(records.by_layer(rows, kind="theory"), {"bn": expected})
        self.assertEqual(records.by_layer(rows, kind="replication"), {})

    def test_read_runs_labels_equal_names_by_their_folders(self):
        root = self.get_temp_dir()
        paths = [os.path.join(root, name) for name in ("a/vgg", "b/vgg", "b/dln")]
        for step, path in enumerate(paths):
            with records.RecordWriter(path) as writer:
                writer.write("eval", step)
        again = os.path.join(paths[2], "records.jsonl")
        runs = records.read_runs([*paths, paths[0] + "/", again])
        self.assertEqual(
            {label: read[0]["step"] for label, read in runs.items()},
            {"a/vgg": 0, "b/vgg": 1, "dln": 2},
        )


if __name__ == "__main__":
    tf.test.main()
