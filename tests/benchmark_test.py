"""Tests of scripts/benchmark.py: its results and formats, never its times.

They run in this process, on tiny data.
"""

import itertools
import json
import math
import os
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import models
from tfbn.models import _vgg

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _benchmark import candidates  # noqa: E402
from _benchmark import diagnostics  # noqa: E402
from _benchmark import exactness  # noqa: E402
from _benchmark import first_step  # noqa: E402
from _benchmark import layers  # noqa: E402
from _benchmark import memory  # noqa: E402
from _benchmark import network  # noqa: E402
from _benchmark import small  # noqa: E402
from _benchmark import tables  # noqa: E402
from _benchmark import thresholds  # noqa: E402
from _benchmark import timing  # noqa: E402

_BENCHMARK = os.path.join(_SCRIPTS, "benchmark.py")
_NAMES = ("keras_bn", "tfbn_bn", "keras_renorm", "tfbn_renorm")


class _Clock:
    """A clock that stands still but for `advance`."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class TimingTest(tf.test.TestCase):
    def test_each_call_once_a_round_in_changing_order_after_the_warmups(self):
        clock, log = _Clock(), []

        def call(name, seconds):
            log.append(name)
            clock.advance(seconds)

        calls = {
            name: lambda name=name, seconds=seconds: call(name, seconds)
            for name, seconds in {"a": 0.5, "b": 2.0, "c": 8.0}.items()
        }
        seconds = timing.interleaved(calls, rounds=20, warmups=2, clock=clock)
        self.assertEqual(seconds, {"a": [0.5] * 20, "b": [2.0] * 20, "c": [8.0] * 20})
        self.assertEqual("".join(log[:6]), "aabbcc")
        rounds = ["".join(log[i : i + 3]) for i in range(6, len(log), 3)]
        self.assertLen(rounds, 20)
        self.assertEqual({"".join(sorted(r)) for r in rounds}, {"abc"})
        self.assertGreater(len(set(rounds)), 3)

    def test_freeing_the_results_is_not_timed(self):
        clock = _Clock()

        class Result:
            def __del__(self):
                clock.advance(100.0)

        def call():
            clock.advance(1.0)
            return Result()

        seconds = timing.interleaved({"call": call}, rounds=3, clock=clock)
        self.assertEqual(seconds, {"call": [1.0] * 3})

    def test_blocking_returns_the_results(self):
        self.assertEqual(timing.blocking(lambda a, b: a - b, 7, 2)(), 5)

    def test_net_subtracts_the_median_of_the_harness(self):
        seconds = {"harness": [1.0, 9.0, 2.0], "a": [5.0, 6.0, 7.0]}
        self.assertEqual(timing.net(seconds, "harness"), {"a": [3.0, 4.0, 5.0]})

    def test_median_in_milliseconds(self):
        self.assertEqual(timing.median_ms({"a": [0.25, 0.125, 9.0]}), {"a": 250.0})

    def test_ratio_is_that_of_each_round(self):
        # Round by round: 2, 3, 4, 5, 10. The ratio of the medians would be 3.
        ratio = timing.ratio([2.0, 6.0, 4.0, 50.0, 10.0], [1.0, 2.0, 1.0, 10.0, 1.0])
        self.assertEqual(ratio, {"median": 4.0, "quartiles": [3.0, 5.0]})

    def test_ratio_of_what_drowned_in_the_harness_is_none(self):
        for pair in (([1.0, 2.0], [1.0, 0.0]), ([-1.0, 2.0], [1.0, 1.0])):
            self.assertEqual(timing.ratio(*pair), {"median": None, "quartiles": None})


@pytest.mark.long
class LayersTest(tf.test.TestCase, parameterized.TestCase):
    def test_summary(self):
        summary = layers.summary(
            {
                "harness": [1.0, 1.0, 1.0],
                "keras_bn": [9.0, 9.0, 13.0],
                "tfbn_bn": [3.0, 5.0, 5.0],
                "keras_renorm": [13.0, 13.0, 13.0],
                "tfbn_renorm": [3.0, 3.0, 3.0],
                "copy": [1.0, 1.0, 2.0],
            }
        )
        self.assertEqual(summary["harness_ms"], 1000.0)
        self.assertEqual(summary["copy_ms"], 1000.0)
        self.assertEqual(
            summary["net_ms"],
            {
                "keras_bn": 8000.0,
                "tfbn_bn": 4000.0,
                "keras_renorm": 12000.0,
                "tfbn_renorm": 2000.0,
            },
        )
        self.assertEqual(
            summary["ratios"],
            {
                "keras_bn/tfbn_bn": {"median": 3.0, "quartiles": [2.5, 3.5]},
                "keras_renorm/tfbn_renorm": {"median": 6.0, "quartiles": [6.0, 6.0]},
                "tfbn_renorm/tfbn_bn": {"median": 0.5, "quartiles": [0.5, 0.75]},
                "tfbn_bn/copy": {"median": 2.0, "quartiles": [2.0, 3.0]},
            },
        )

    def test_rows(self):
        """Of training; those of inference have ScriptTest."""
        made, make = [], candidates.make

        def collect(*args):
            made.append(make(*args))
            return made[-1]

        with mock.patch.object(candidates, "make", collect):
            rows = layers.training(
                [(8, 4)], ["float32"], rounds=2, seed=0, progress=lambda text: None
            )
        self.assertEqual([row["mode"] for row in rows], ["graph", "xla"])
        for row in rows:
            self.assertEqual((row["shape"], row["dtype"]), ([8, 4], "float32"))
            self.assertGreater(row["harness_ms"], 0.0)
            self.assertCountEqual(row["net_ms"], [*_NAMES, candidates.FUSED])
            self.assertGreater(row["copy_ms"], 0.0)
            json.dumps(row, allow_nan=False)
        # That every call, timed or not, moved the averages: nothing was pruned.
        calls = 2 + timing.WARMUPS
        self.assertEqual([int(m.step) for m in made if hasattr(m, "step")], [calls] * 2)
        self.assertLen(made, 2 * 5)
        for layer in made:
            self.assertTrue(np.any(layer.moving_mean.numpy()))

    @parameterized.parameters(("float32", True), ("bfloat16", False))
    def test_what_is_compared_computes_the_same(self, dtype, jit_compile):
        calls = layers.training_calls((16, 6), dtype, jit_compile=jit_compile)
        results = {name: call() for name, call in calls.items()}
        self.assertEqual(results.pop("copy").shape, (16, 6))
        loss, (dx,) = results.pop("harness")
        self.assertEqual((loss.dtype, dx.shape), (dtype, (16, 6)))
        for loss, gradients in results.values():
            self.assertEqual((loss.dtype, gradients[0].dtype), (dtype, dtype))
            self.assertEqual([g.shape for g in gradients], [(16, 6), (6,), (6,)])
        tolerance = 1e-4 if dtype == "float32" else 0.05
        for formula in ("bn", "renorm"):
            of_keras, of_tfbn = (results[f"{p}_{formula}"] for p in ("keras", "tfbn"))
            for a, b in zip(of_keras[1], of_tfbn[1], strict=True):
                self.assertAllClose(a, b, tolerance, tolerance)


@pytest.mark.long
class SmallTest(tf.test.TestCase, parameterized.TestCase):
    def test_summary(self):
        names = "keras_bn", "tfbn_bn", "keras_renorm", "tfbn_renorm"
        seconds = [[2.0, 4.0, 4.0], [1.0, 1.0, 2.0], [1.0] * 3, [3.0] * 3]
        found = small.summary(
            {
                name: [small.REPEATS * s for s in values]
                for name, values in zip(names, seconds, strict=True)
            }
        )
        milliseconds = dict(zip(names, (4000.0, 1000.0, 1000.0, 3000.0), strict=True))
        self.assertEqual(found["ms"], milliseconds)
        ratio = {"median": 0.5, "quartiles": [0.375, 0.5]}
        self.assertEqual(found["ratios"]["tfbn_bn/keras_bn"], ratio)

    @parameterized.parameters(*small.MODES)
    def test_what_is_compared_computes_the_same(self, mode):
        results = {name: call() for name, call in small.calls_of((6, 4), mode).items()}
        for kind in ("bn", "renorm"):
            of_keras, of_tfbn = (
                tf.nest.flatten(results[f"{p}_{kind}"]) for p in ("keras", "tfbn")
            )
            self.assertLen(of_keras, 3 if "gradients" in mode or "any" in mode else 1)
            for a, b in zip(of_keras, of_tfbn, strict=True):
                self.assertAllClose(a, b, 1e-4, 1e-4)

    def test_rows(self):
        with (
            mock.patch.object(small, "SHAPES", ((6, 4),)),
            mock.patch.object(small, "REPEATS", 1),
        ):
            rows = small.measure(rounds=2, seed=0, progress=lambda text: None)
        self.assertEqual([row["mode"] for row in rows], list(small.MODES))
        text = tables.section("small", rows)
        self.assertIn("| 6x4   | eager, forward", text)


@pytest.mark.long
class ExactnessTest(tf.test.TestCase):
    def test_reference(self):
        rng = np.random.default_rng(1)
        x, upstream = rng.normal(3.0, 2.0, size=(2, 5, 4, 3, 6))
        matrix, other = testing_utils.channels_last(x), upstream.reshape(-1, 6)
        plain = testing_utils.Renorm(matrix, candidates.EPSILON)
        renorm = testing_utils.Renorm(matrix, candidates.EPSILON)
        renorm.correct(0.5, 1.5, np.inf, np.inf)
        averages = {"moving_mean": 0.5, "moving_stddev": 1.5}
        for expected, options in ((plain, {}), (renorm, averages)):
            output, gradient = exactness.reference(x, upstream, **options)
            self.assertAllClose(output.reshape(-1, 6), expected.output, 1e-12, 1e-12)
            dx, _, _ = expected.gradients(other)
            self.assertAllClose(gradient.reshape(-1, 6), dx, 1e-12, 1e-12)

    def test_relative_error(self):
        actual = np.array([1.0, -7.5, 3.0])
        self.assertEqual(exactness.relative_error(actual, np.array([1, -8, 3])), 0.0625)

    def test_rows_of_float32(self):
        rows = self._measure("float32", offsets=[1e4])
        self.assertEqual(
            [(row["mode"], row["quantity"]) for row in rows],
            list(itertools.product(("eager", "graph", "xla"), ("output", "gradient"))),
        )
        for row in rows:
            self.assertEqual((row["shape"], row["offset"]), ([16, 5, 4], 1e4))
            self.assertCountEqual(row["errors"], _NAMES)
            for name, error in row["errors"].items():
                if name.startswith("tfbn"):
                    self.assertLess(error, 1e-5, (name, row))
                else:  # Keras loses digits here: so exactness is what is measured
                    self.assertGreater(error, 1e-5, (name, row))
            for error in row["rounding"].values():
                self.assertBetween(error, 1e-9, 1e-7)

    def test_half_precision_errs_by_little_more_than_its_rounding(self):
        rows = self._measure("bfloat16")
        self.assertEqual({row["offset"] for row in rows}, {0.0})
        for row in rows:
            self.assertCountEqual(row["rounding"], ("bn", "renorm"))
            for name, error in row["errors"].items():
                rounding = row["rounding"][name.partition("_")[2]]
                self.assertBetween(rounding, 2.0**-12, 2.0**-8)
                self.assertBetween(error, rounding / 2, rounding * 2, row)

    def _measure(self, dtype, **options):
        return exactness.measure(
            [(16, 5, 4)], [dtype], seed=0, progress=lambda text: None, **options
        )


@pytest.mark.long
class NetworkTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        stages = {"A": (1, 0, 0, 0, 1)}  # two convolutions will do
        self.enter_context(mock.patch.dict(_vgg._STAGES, stages))

    def test_summary(self):
        summary = network.summary(
            {"none": [1.0, 2.0, 4.0], "keras_bn": [1.5, 2.5, 8.0]}
        )
        self.assertEqual(summary["ms"], {"none": 2000.0, "keras_bn": 2500.0})
        self.assertEqual(
            summary["percent_over_none"],
            {"keras_bn": {"median": 50.0, "quartiles": [37.5, 75.0]}},
        )

    def test_rows(self):
        options = {"batch_size": 2, "width": 0.02, "seed": 0}
        norms = {name: network.NORMS[name] for name in ("none", "tfbn_renorm")}
        with mock.patch.object(network, "NORMS", norms):
            (row,) = network.measure(
                ["bfloat16"], rounds=2, progress=lambda text: None, **options
            )
        self.assertEqual(row["dtype"], "bfloat16")
        self.assertEqual(list(row["ms"]), ["none", "tfbn_renorm"])
        self.assertGreater(min(row["ms"].values()), 0.0)
        self.assertEqual(list(row["percent_over_none"]), ["tfbn_renorm"])
        self.assertEqual(keras.config.dtype_policy().name, "float32")

    def test_a_step_trains(self):
        options = {"batch_size": 8, "width": 0.02, "seed": 0}
        step = network.training_step("none", "float32", **options)
        losses = [float(step()["loss"][0]) for _ in range(5)]
        self.assertTrue(math.isfinite(losses[0]))
        self.assertLess(losses[-1], losses[0])

    def test_cost_of_covariate_shift(self):
        build = diagnostics.NETWORKS["DLN-25"]
        model, loss, (x, y) = build(0, 1)
        self.assertEqual(model.output_shape, (None, 10))
        self.assertTrue(math.isfinite(loss(y, model(x, training=True))))

        def small(batch_size, seed):
            del batch_size, seed
            return models.deep_linear(3, 10), loss, (x, y)

        with mock.patch.dict(diagnostics.NETWORKS, {"DLN-25": small}):
            options = {"batch_size": 0, "seed": 0}
            row = diagnostics.times("DLN-25", rounds=2, **options)
            peaks = diagnostics.peak("DLN-25", "ics", **options)
        self.assertEqual((row["groups"], row["parameters"]), (3, 300))
        self.assertGreater(row["ms"]["ics"], 0.0)
        median = row["passes"]["median"]
        self.assertAllClose(row["passes_per_group"]["median"], median / 3)
        # As in `test_memory_of_a_norm`.
        self.assertGreater(peaks["peak_mib"], peaks["start_mib"] - 4.0)

    def test_first_step_of_a_network(self):
        def small(*, classes, **options):
            del options
            norm = keras.layers.BatchNormalization(name="norm")
            layers = [keras.layers.Conv2D(2, 3, name="conv"), norm]
            top = [keras.layers.Flatten(), keras.layers.Dense(classes)]
            return keras.Sequential([keras.Input((8, 8, 3)), *layers, *top])

        with (
            mock.patch.dict(first_step.NETWORKS, {"ResNet50V2": 8}),
            mock.patch.object(keras.applications, "ResNet50V2", small),
        ):
            found = first_step.times("ResNet50V2", "tfbn_renorm", seed=0)
        self.assertGreater(found["step"], found["trace"])
        self.assertGreater(found["trace"], 0.0)

    def test_memory_of_a_norm(self):
        self.assertNotEqual(memory.in_new_process(os.getpid), os.getpid())
        options = {"batch_size": 2, "width": 0.02, "seed": 0}

        found = []

        def here(function, *arguments, **options):  # another start would take long
            found.append(function(*arguments, **options))
            found[-1]["peak_mib"] += (0.0, 900.0, 300.0)[len(found) - 1]
            return found[-1]

        with mock.patch.object(memory, "in_new_process", here):
            (row,) = memory.measure(
                ["float32"], norms=["none"], progress=lambda text: None, **options
            )
        self.assertEqual(row["dtype"], "float32")
        (peaks,) = row["norms"].values()
        self.assertIs(peaks, found[2])  # the median
        self.assertGreater(peaks["start_mib"], 100.0)  # TensorFlow is loaded
        # The kernel counts pages per thread: a peak can be off by some of them.
        self.assertGreater(found[0]["peak_mib"], found[0]["start_mib"] - 4.0)


@pytest.mark.long
class ThresholdsTest(tf.test.TestCase):
    def test_sweeps_are_around_the_constants(self):
        for sweep in thresholds.SWEEPS:
            used = thresholds.constant(sweep.constant)
            self.assertBetween(used, min(sweep.values), max(sweep.values))

    def test_each_value_is_tried(self):
        """Layers share functions, which are traced once: here for each value."""
        sweep = thresholds.Sweep("cpu_moments.MAX_HEIGHT", (8, 512), (2**15, 8))
        rows = thresholds.measure(
            rounds=1, seed=0, progress=lambda text: None, sweeps=[sweep]
        )
        errors = [row["error"] for row in rows]
        self.assertNotEqual(*errors)  # sums of other lengths are rounded otherwise

    def test_rows(self):
        kernels = thresholds.KERNELS
        both = kernels, "wide_sums"
        sweeps = [
            thresholds.Sweep(
                "cpu_kernels.MIN_ELEMENTS",
                (64, 2**16),
                lambda n: (n // 8, 8),
                both,
            ),
            thresholds.Sweep("cpu_kernels.MIN_HEIGHT", (1,), (4099, 8)),
        ]
        before = thresholds.constant("cpu_kernels.MIN_HEIGHT")
        rows = thresholds.measure(
            rounds=2, seed=0, progress=lambda text: None, sweeps=sweeps
        )
        self.assertEqual(thresholds.constant("cpu_kernels.MIN_HEIGHT"), before)
        self.assertEqual(
            [(row["value"], row["implementation"]) for row in rows],
            [*((n, i) for n in (64, 2**16) for i in both), (1, kernels)],
        )
        for row in rows:
            self.assertGreater(row["ms"], 0.0)
            self.assertBetween(row["error"], 1e-9, 1e-5)
        for row, milliseconds in zip(rows, (3.0, 1.0, 5.0, 7.0), strict=False):
            row["ms"] = milliseconds
        text = tables.section("thresholds", rows)
        self.assertIn(f"{kernels} is the fastest from 65536 elements on", text)
        self.assertIn("65536 (used) | 8192x8", text)


class TablesTest(tf.test.TestCase, parameterized.TestCase):
    def test_table(self):
        rows = [["a", "1.5", "x"], ["bcd", "–", "2"], ["e", "10 (8 to 12)", "3"]]
        self.assertEqual(
            tables.table(["name", "n", "mixed"], rows).splitlines(),
            [
                "| name |            n | mixed |",
                "| ---- | -----------: | ----- |",
                "| a    |          1.5 | x     |",
                "| bcd  |            – | 2     |",
                "| e    | 10 (8 to 12) | 3     |",
            ],
        )

    @parameterized.parameters(
        ("nan", True),
        ("-inf", True),
        ("-1.5e-07", True),
        ("1.2 (1.1 to 1.3)", True),
        ("–", True),
        ("nano", False),
        ("12 MiB", False),
        ("", False),
    )
    def test_numbers_stand_to_the_right(self, cell, to_right):
        rule = tables.table(["n"], [[cell], ["1.0"]]).splitlines()[1]
        self.assertEqual(rule.endswith(": |"), to_right)

    def test_table_without_rows(self):
        lines = ["| a | bc |", "| - | -- |"]
        self.assertEqual(tables.table(["a", "bc"], []).splitlines(), lines)

    @parameterized.parameters(
        (0.012345, "0.0123"),
        (1.0, "1.00"),
        (-2.345, "-2.35"),
        (1234.5, "1234"),
        (0, "0"),
    )
    def test_number(self, value, text):
        self.assertEqual(tables.number(value), text)

    def test_diagnostics(self):
        ratio = {"median": 3.75, "quartiles": [3.7, 3.8]}
        row = {
            "network": "VGG-A",
            "groups": 9,
            "ms": {"pass": 700.0, "ics": 2625.0},
            "passes": ratio,
            "passes_per_group": {"median": 0.4167, "quartiles": [0.4111, 0.4222]},
            "first_seconds": 7.3,
            "training_mib": {"start_mib": 600.0, "peak_mib": 1000.0},
            "ics_mib": {"start_mib": 600.0, "peak_mib": 1200.4},
        }
        text = tables.section("diagnostics", [row])
        cells = [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]
        self.assertEqual(
            cells,
            ["VGG-A", "9", "700", "2625", "3.8 (3.7 to 3.8)", "0.42 (0.41 to 0.42)"]
            + ["7", "400", "600"],
        )
        row["instruments"] = {"landscape": {"passes": ratio, "expected": 9.0}}
        text = tables.section("diagnostics", [row])
        self.assertIn("| landscape  | 3.8 (3.7 to 3.8) |      9.0 |", text)

    def test_quartiles(self):
        ratio = {"median": 3.406, "quartiles": [3.3, 3.521]}
        self.assertEqual(tables.with_quartiles(ratio), "3.41 (3.30 to 3.52)")
        ratio = {"median": None, "quartiles": None}
        self.assertEqual(tables.with_quartiles(ratio), "–")

    def test_first_step(self):
        ratio = {"median": 1.25, "quartiles": [1.2, 1.3]}
        part = {"seconds": 2.5, "ratio": ratio}
        layers = {"tfbn_bn": {"trace": part, "step": part}}
        text = tables.section("first_step", [{"network": "one", "layers": layers}])
        times = "    2.50 | 1.25 (1.20 to 1.30) "
        self.assertIn("| one     | tfbn BN |" + times, text)

    def test_memory(self):
        peaks = {"none": {"start_mib": 100.4, "peak_mib": 350.0}}
        text = tables.section("memory", [{"dtype": "float32", "norms": peaks}])
        self.assertIn("| float32 | none |   100 |     350 |        250 |", text)


class ScriptTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.path = os.path.join(folder, "new", "results.json")

    def test_results_are_written_and_shown_again(self):
        options = ("--sections=inference", "--shapes=8x4", "--rounds=2")
        status, out, err = testing_utils.run_script(
            _BENCHMARK, *options, f"--out={self.path}"
        )
        self.assertEqual(status, 0, err)
        for line in err.splitlines():  # nothing beside the progress
            self.assertRegex(line, "^inference: 8x4 float32 (graph|xla)$")
        with open(self.path, encoding="utf-8") as file:
            results = json.load(file)
        self.assertEqual(list(results["sections"]), ["inference"])
        self.assertLen(results["sections"]["inference"], 2)
        self.assertContainsSubset(
            {"rounds": 2, "shapes": [[8, 4]], "seed": 0, "rmax": 3.0},
            results["settings"],
        )
        self.assertContainsSubset(("cpu", "cores", "platform"), results["machine"])
        self.assertEqual(results["versions"]["tensorflow"], tf.__version__)
        self.assertIn(results["versions"]["onednn"], (True, False))
        self.assertRegex(results["date"], r"^\d{4}-\d\d-\d\dT[\d:]+\+00:00$")
        shown = testing_utils.run_script(_BENCHMARK, f"--from={self.path}")
        self.assertEqual(shown, (0, out, ""))

    def test_wrong_input_is_one_line(self):
        status, out, err = testing_utils.run_script(_BENCHMARK, f"--from={__file__}")
        self.assertEqual((status, out), (2, ""))
        message = (
            f"--from must name a file that --out has written. Received: {__file__}."
        )
        self.assertEqual(err, f"benchmark.py: error: {message}\n")


if __name__ == "__main__":
    tf.test.main()
