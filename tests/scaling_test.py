"""Tests of scripts/scaling.py: of its counts and tables, never of its times."""

import json
import os
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn import data
from tfbn.training import batch_sources
from tfbn.training.objective import Objective
from tfbn.training.replicated_step import ReplicatedSteps

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _scaling import cells  # noqa: E402
from _scaling import messages  # noqa: E402
from _scaling import tables  # noqa: E402

_SCALING = os.path.join(_SCRIPTS, "scaling.py")
# Of four inputs, five and six units with norms, and three outputs; a bias in the last.
_WEIGHTS = 4 * 5 + 2 * 5 + 5 * 6 + 2 * 6 + 6 * 3 + 3
_TABLES = [4 * 2 * (3 * 5 + 1), 4 * 2 * (3 * 6 + 1)]
_TOTALS = [8 * 6, 8 * 5]


def _norms(kind, **options):
    return lambda: kind(**options)


def _steps(make_norm, batch_size=8, metrics=("accuracy",)):
    """`(model, steps, source)` on two logical CPUs."""
    strategy = testing_utils.two_cpus_strategy()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)).astype("float32"), rng.integers(3, size=20)
    source = batch_sources.source_of(
        data.ArrayBatches(x, y, data.IIDBatches(20, batch_size, seed=0))
    )
    with strategy.scope():
        layers = [
            keras.layers.Dense(5, use_bias=False),
            make_norm(),
            keras.layers.Dense(6, use_bias=False),
            make_norm(),
            keras.layers.Dense(3),
        ]
        model = keras.Sequential([keras.Input((4,)), *layers])
        optimizer = keras.optimizers.SGD(0.1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    objective = Objective(model, loss, list(metrics), *source.spec)
    steps = ReplicatedSteps(
        model, optimizer, objective, source, strategy=strategy, on_nonfinite="stop"
    )
    return model, steps, source


class MessagesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        # Losses, gradients and outputs; averages too where slices have their own.
        (_norms(tfbn.BatchNorm), [], 2 * 11),
        (_norms(tfbn.BatchRenorm), [], 3 * 11),
        (_norms(tfbn.BatchNorm, synchronized=True), [*_TABLES, *_TOTALS], 0),
        (_norms(tfbn.BatchRenorm, synchronized=True), [*_TABLES, *_TOTALS], 0),
    )
    def test_of_a_step(self, make_norm, of_layers, averages):
        model, steps, source = _steps(make_norm)
        step = 4 * (1 + _WEIGHTS + 8 * 3 + averages)
        found = messages.counted(steps, source)
        self.assertEqual([m.bytes for m in found], [*of_layers, step])
        self.assertEqual({m.operation for m in found}, {"CollectiveReduceV2"})

        foretold = messages.foretold(model, 8, 2, 3)
        self.assertEqual(foretold["step"], (1, step))
        half = len(of_layers) // 2
        self.assertEqual(foretold["forward"], (half, sum(of_layers[:half])))
        self.assertEqual(foretold["backward"], (half, sum(of_layers[half:])))
        alone = messages.foretold(model, 8, 1, 3)
        self.assertEqual(set(alone.values()), {(0, 0)})

    def test_without_metrics_no_outputs_are_sent(self):
        _, steps, source = _steps(_norms(tfbn.BatchNorm, synchronized=True), 7, [])
        *_, last = messages.counted(steps, source)
        self.assertEqual(last.bytes, 4 * (1 + _WEIGHTS))


class CellsTest(tf.test.TestCase):
    def test_one_device_has_the_batches_of_all_places(self):
        numbers = [1, 2, 4]
        none, one, *others = cells.places(numbers)
        self.assertEqual(one, cells.ONE)
        self.assertLen(others, 4)
        found = cells.cells(one, ["mlp"], numbers)
        self.assertEqual(cells.cells(none, ["mlp"], numbers), found)
        for place in others:
            mine = cells.cells(place, ["mlp"], numbers)
            self.assertContainsSubset(mine, found)
            sizes = {cell.batch_size for cell in mine}
            self.assertEqual(sizes, {128, 32 * place.number})
            for cell in mine:
                config = cells.config(place, cell)
                self.assertEqual(config.synchronized, "synchronized" in cell.norm)


def _row(kind, number, size, norm="none"):
    return {
        "kind": kind,
        "number": number,
        "network": "mlp",
        "norm": norm,
        "batch_size": size,
        "ms": 4.0,
        "more_ms": 1.25,
        "ratio": {"median": 1.5, "quartiles": [1.4, 1.6]},
        "counted": [3, 5000],
        "foretold": {"forward": [1, 10], "backward": [1, 20], "step": [1, 4970]},
        "loopback_bytes": 9876.0 if kind == cells.PROCESSES else None,
    }


class TablesTest(tf.test.TestCase):
    def test_tables(self):
        rows = [_row(*cells.ONE, size) for size in (64, 128)]
        rows += [_row(cells.CPUS, 2, size) for size in (64, 128)]
        rows += [_row(cells.PROCESSES, 2, size) for size in (64, 128)]
        *_, cpus, processes = tables.messages(rows).splitlines()
        self.assertRegex(cpus, r"2 logical CPUs .* 3 \|  5000 \| 3 of 5000 \| –")
        self.assertRegex(processes, r"2 processes .* 3 of 5000 \| 10 kB")
        _, _, one, *others = tables.strong(rows).splitlines()
        self.assertRegex(one, r"1 logical CPU +\|   128 \| 4\.00 ms")
        self.assertLen(others, 2)
        self.assertRegex(others[0], r"2 logical CPUs \|   128 \| \+1\.2 \(1\.50\)")
        self.assertLen(tables.weak(rows).splitlines(), 2 + 4)

    def test_the_page_has_those_of_the_file(self):
        path = os.path.join(_ROOT, "docs", "scaling.json")
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)["rows"]
        with open(os.path.join(_ROOT, "docs", "distributed.md"), encoding="utf-8") as f:
            page = f.read()
        for render in (tables.messages, tables.strong, tables.weak):
            self.assertIn(render(rows), page)


class ScriptTest(tf.test.TestCase):
    @pytest.mark.long
    def test_script(self):
        out = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), "out.json")
        flags = ["--replicas=2", "--rounds=1", f"--out={out}"]
        command = [sys.executable, _SCALING, *flags]
        printed = subprocess.run(command, check=True, capture_output=True, text=True)
        with open(out, encoding="utf-8") as file:
            rows = json.load(file)["rows"]
        self.assertLen(rows, (2 * 3 + 2 * 2) * 4)  # one device also has batches of 32
        for row in rows:
            foretold = np.sum(list(row["foretold"].values()), 0)
            self.assertAllEqual(row["counted"], foretold)
        again = subprocess.run(
            [sys.executable, _SCALING, f"--from={out}"],
            check=True,
            capture_output=True,
            text=True,
        )
        self.assertEqual(again.stdout, printed.stdout)


if __name__ == "__main__":
    tf.test.main()
