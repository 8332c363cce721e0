"""Tests of a report's page, figures and records."""

import os
import re
import shutil
import tempfile
import time
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized
from matplotlib.figure import Figure

from tests.reproduction import made_up
from tfbn import environment
from tfbn.experiment import TrainConfig
from tfbn.recording.records import RecordWriter
from tfbn.reproduction import claims
from tfbn.reproduction import experiments
from tfbn.reproduction import phrases
from tfbn.reproduction import plan
from tfbn.reproduction import report
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction.experiment import Experiment
from tfbn.reproduction.measures import Measure
from tfbn.reproduction.report import Report
from tfbn.reproduction.results import Results

_LOSS = Measure("|loss|", lambda records: records[-1]["loss"], "{:.2f}")
_FRESH = Measure("first loss", lambda records: records[0]["loss"], "{:.1f}")
_NORMS = ("none", "batch_norm")


def _figure(results):
    figure = Figure()
    for label, seeds in results.records.items():
        figure.subplots().plot([seed[-1]["loss"] for seed in seeds], label=label)
    return figure


_TINY = Experiment(
    paper="santurkar",
    title="Is it a loss? (No, two.)",
    source="Somewhere | sec. 1",
    setting="\nSome words.\n",
    runs=lambda scale: {
        norm: {"model": "mlp", "dataset": "shapes", "train_steps": 30, "norm": norm}
        for norm in _NORMS
    },
    kinds=("train", "eval"),
    figures={"losses": _figure, "others": _figure},
    claims=(
        claims.larger("|a| > |b|", "2 | 1", _LOSS, "none", than="batch_norm"),
        claims.larger("|a| < |b|", "2 | 1", _LOSS, "batch_norm", than="none"),
        claims.between("It is small", "so", _FRESH, "none", high=0.0, scales=()),
    ),
)


class OursTest(tf.test.TestCase, parameterized.TestCase):
    def _judged(self, claim, **losses):
        runs = {
            label: [[{"step": 1, "kind": "train", "loss": v}] for v in values]
            for label, values in losses.items()
        }
        return verdicts.judge(claim, Results("cpu", runs))

    def _told(self, a, b=(1.0, 1.0, 1.0)):
        claim = claims.larger("", "", _LOSS, "a", than="b")
        return phrases.ours(self._judged(claim, a=a, b=b))

    @parameterized.parameters(
        ((1.0, 2.0, 6.0), "3.00 (1.00, 2.00, 6.00)"),
        ((2.0, 2.001, 2.0), "2.00"),
        ((float("inf"),) * 3, "not finite"),
        ((1.0, float("inf"), 2.0), "not finite (1.00, not finite, 2.00)"),
        ((float("nan"),) * 3, "not measured"),
        ((float("nan"), 1.0, 2.0), "1.50 (not measured, 1.00, 2.00)"),
    )
    def test_mean_and_seeds(self, values, expected):
        self.assertEqual(self._told(values), f"|loss|. a: {expected}; b: 1.00")

    def test_sides_of_different_measures(self):
        sides = claims.Side("a", _LOSS), claims.Side("a", _FRESH)
        claim = claims.exceeds("", "", sides[0], than=sides[1])
        self.assertEqual(
            phrases.ours(self._judged(claim, a=(2.0, 2.0, 2.0))),
            "|loss|, a: 2.00; first loss, a: 2.0",
        )

    @parameterized.parameters(
        # 2 +- 4.303 / sqrt(3); the geometric mean of 2, 4 and 8, and the same of logs.
        (_LOSS, (2.0, 3.0, 4.0), "+2 (-0.484 to +4.48)"),
        (_LOSS._replace(log=True), (2.0, 4.0, 8.0), "4 times (0.715 to 22.4)"),
        (
            _LOSS._replace(form="{:.1%}"),
            (1.02, 1.03, 1.04),
            "+3.0 points (+0.5 to +5.5)",
        ),
        (_LOSS, (3.0, 3.0, 3.0), "+2, the same in all seeds"),
        (_LOSS, (3.0, float("inf"), 3.0), "no interval: not finite"),
        (_LOSS, (3.0, float("nan"), 3.0), "not measured"),
    )
    def test_difference_and_interval(self, measure, values, expected):
        claim = claims.larger("", "", measure, "a", than="b")
        ones = tuple(v - 1.0 for v in (2.0, 2.0, 2.0))
        judged = self._judged(claim, a=values, b=ones)
        self.assertEqual(phrases.contrast(judged), expected)

    def test_interval_of_one_side_is_in_its_own_numbers(self):
        measure = _LOSS._replace(log=True, form="{:.1f}")
        claim = claims.between("", "", measure, "a", low=1.0)
        judged = self._judged(claim, a=(2.0, 4.0, 8.0))
        self.assertEqual(phrases.contrast(judged), "4.0 (0.7 to 22.4)")


class ReportTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.report = Report(os.path.join(self.folder, "report"), "cpu")
        where = {"out": self.folder, "data_dir": ""}
        self.study = plan.study("tiny", _TINY, "cpu", **where)
        for run in self.study.runs:
            seed = run.config.seed
            offset = seed + (run.label == "none") * (5.0, 4.9, 5.1)[seed]
            with RecordWriter(run.config.run_dir) as writer:
                for step in (10, 20, 30):
                    writer.write("train", step, loss=offset + step)
            self._finish(run)

    def _finish(self, run, seconds=0.0):
        """Makes a run look complete, `seconds` from now."""
        path = os.path.join(run.config.run_dir, "model.keras")
        with open(path, "w", encoding="utf-8"):
            pass
        os.utime(path, (time.time() + seconds,) * 2)

    def _write(self, report=None):
        report = report or self.report
        paths = report.draw(self.study)
        page = report.write_page([self.study])
        with open(page, encoding="utf-8") as file:
            return paths, file.read()

    def test_page(self):
        self.report.gather(self.study)
        paths, page = self._write()
        with self.subTest("claims"):
            self._check_claims(page)
        with self.subTest("chapter"):
            self.assertIn("## Is it a loss? (No, two.)\n\n`tiny`: Somewhere", page)
            self.assertIn("\n\nSome words.\n\n", page)
            size = "a network of dense layers on shapes for 30 steps of 128 examples"
            self.assertIn(f"\n\nAt this scale: {size} (6 runs).\n\n", page)
            self.assertIn(environment.machine()["platform"], page)
            for run in self.study.runs[::3]:
                self.assertEqual(page.count(f"- {run.label}: `{run.command()}`\n"), 1)
        with self.subTest("overview"):
            (row,) = (line for line in page.splitlines() if line.startswith("| [Is it"))
            told = ["1 holds, 1 contradicted, 1 open", "–"]
            self.assertEqual(_cells(row)[2:], told)
            words = " ".join(page.split())
            self.assertIn("Every run has 3 seed(s), or as many", words)
            summary = (
                "**Of 3 claims of the papers, 1 holds, 0 are equivalent within the "
                "margin, 1 is contradicted and 1 is open; of 0 that are not in the "
                "papers, 0 hold, 0 are equivalent within the margin, 0 are "
                "contradicted and 0 are open.** Alone, "
            )
            self.assertIn(summary, words)
        with self.subTest("tables"):
            blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
            self.assertLen(blocks, 2)
            for block in blocks:
                self.assertLen({len(_cells(line)) for line in block.splitlines()}, 1)
        with self.subTest("links"):
            links = re.findall(r"!\[.*?\]\((.*?)\)", page)
            names = ["figures/tiny_losses.png", "figures/tiny_others.png"]
            self.assertEqual(links, names)
            places = [os.path.join(self.report.path, link) for link in links]
            self.assertCountEqual(places, paths)
            for place in places:
                self.assertGreater(os.path.getsize(place), 1000)

    def _check_claims(self, page):
        self.assertIn("`scripts/reproduce.py tiny --scale=cpu` repeats it.", page)
        rows = [_cells(line) for line in page.splitlines() if ", a screen" in line]
        none = "none: 36.00 (35.00, 35.90, 37.10)"
        other = "batch_norm: 31.00 (30.00, 31.00, 32.00)"
        screen = "3, a screen"
        expected = [
            [
                r"\|a\| > \|b\|",
                r"2 \| 1",
                rf"\|loss\|. {none}; {other}",
                "+5 (+4.75 to +5.25)",
                screen,
                "< 0.001",
                "0.25",
                "**holds**",
            ],
            [
                r"\|a\| < \|b\|",
                r"2 \| 1",
                rf"\|loss\|. {other}; {none}",
                "-5 (-5.25 to -4.75)",
                screen,
                "< 0.001",
                "0.25",
                "**contradicted**",
            ],
            [
                "It is small",
                "so",
                "first loss. none: 16.0 (15.0, 15.9, 17.1)",
                "no interval",
                screen,
                "1",
                "1",
                "**open**",
            ],
        ]
        self.assertEqual(rows, expected)

    @parameterized.parameters(
        (
            {"width": 0.125, "vgg_depth": "D", "train_steps": 2000},
            "VGG-D, width x 0.125, on cifar10 for 2,000 steps of 128 examples",
        ),
        (
            {"model": "deep_linear", "dataset": "gaussian", "batch_size": 1000},
            "25 linear layers on gaussian for 15,000 steps of 1,000 examples",
        ),
    )
    def test_size_of_a_run(self, options, told):
        experiment = mock.Mock(title="", source="", setting="")
        runs = [plan.Run("", TrainConfig(**options))] * 2
        chapter = sections.Chapter(plan.Study("name", experiment, runs), [], [], {})
        page = sections.page([chapter], "smoke")
        self.assertIn(f"\n\nAt this scale: {told} (2 runs).\n\n", page)

    def test_seconds_and_data_of_the_runs(self):
        linear = {"model": "deep_linear", "dataset": "gaussian", "batch_size": 1000}
        runs = [
            plan.Run("a", TrainConfig(data_seed=seed, seed=seed, **linear))
            for seed in range(2)
        ]
        study = plan.Study("name", mock.Mock(title="", source="", setting=""), runs)
        about = {"machine": environment.machine(), "versions": environment.versions()}
        about |= {"date": "2026-01-01"}
        told = sections.sizes(sections.Chapter(study, [], [], about))
        self.assertIn("one draw of gaussian, of data seed 0, for all seeds", told)
        about["runs"] = [
            {"label": "a", "seed": seed, "data_seed": seed, "seconds": 10.0 + 2 * seed}
            for seed in range(2)
        ]
        chapter = sections.Chapter(study, [], [], about)
        self.assertEndsWith(sections.sizes(chapter), " (2 runs, 11 s each).")
        self.assertIn("--data_seed equal to it", sections.page([chapter], "smoke"))

    def test_made_again_from_its_records(self):
        self.report.gather(self.study)
        _, page = self._write()
        other = Report(os.path.join(self.folder, "other"), "cpu")
        shutil.copytree(
            *(os.path.join(r.path, "records") for r in (self.report, other))
        )
        for run in self.study.runs:
            shutil.rmtree(run.config.run_dir)
        paths, page_again = self._write(other)
        self.assertEqual(page, page_again)
        for path in paths:
            first = os.path.join(self.report.path, os.path.relpath(path, other.path))
            with open(path, "rb") as one, open(first, "rb") as two:
                self.assertEqual(one.read(), two.read())

    def test_chapters_are_those_that_there_are_records_of(self):
        studies = [self.study, self.study._replace(name="another")]
        page = self.report.write_page(studies)
        with open(page, encoding="utf-8") as file:
            self.assertNotIn("\n## ", file.read())
        self.report.gather(self.study)
        page = self.report.write_page(studies)
        with open(page, encoding="utf-8") as file:
            self.assertEqual(file.read().count("\n## "), 1)

    def test_gathered_again_only_if_a_run_has_ended_since(self):
        run = self.study.runs[0]
        self.report.gather(self.study)
        _, page = self._write()
        with RecordWriter(run.config.run_dir) as writer:
            writer.write("train", 31, loss=1000.0)
        self.report.gather(self.study)
        self.assertEqual(self._write()[1], page)
        self._finish(run, seconds=10.0)
        self.report.gather(self.study)
        self.assertNotEqual(self._write()[1], page)

    def test_records_of_another_scale(self):
        self.report.gather(self.study)
        other = Report(self.report.path, "paper")
        with self.assertRaisesRegex(ValueError, "tiny at scale paper. Received: cpu"):
            other.judge(self.study)

    def test_records_without_a_run(self):
        self.report.gather(self.study._replace(runs=self.study.runs[:3]))
        for call in (
            lambda: self.report.draw(self.study),
            lambda: self.report.judge(self.study),
            lambda: self._write(),
        ):
            with self.assertRaisesRegex(ValueError, "Received: no run 'batch_norm'"):
                call()

    def test_no_records(self):
        with self.assertRaisesRegex(ValueError, "No records to draw"):
            self.report.draw(self.study)


class AnchorsTest(tf.test.TestCase):
    def test_of_all_experiments(self):
        everything = experiments.load()
        chapters = [
            sections.Chapter(made_up.study(name, experiment, "smoke"), [], [], {})
            for name, experiment in everything.items()
        ]
        page = sections.page(chapters, "smoke")
        links = re.findall(r"\(#(.*?)\)", page)
        headings = re.findall("^## (.*)$", page, re.MULTILINE)
        self.assertLen(headings, len(everything))
        self.assertEqual(links, [_anchor(heading) for heading in headings])

    def test_of_hard_cases(self):
        for title, expected in (
            ("Is it: a-b, c_d?", "is-it-a-b-c_d"),
            ("G & G' - both", "g--g---both"),
            ("Ünïcode 2.0", "ünïcode-20"),
        ):
            experiment = mock.Mock(title=title, source="", setting="")
            study = plan.Study("name", experiment, [])
            chapter = sections.Chapter(study, [], [], {})
            self.assertIn(f"](#{expected})", sections.page([chapter], "smoke"))
            self.assertEqual(_anchor(title), expected)


class OriginTest(tf.test.TestCase):
    def test_devices_are_told_apart(self):
        about = {
            "date": "2026-01-02",
            "machine": environment.machine(),
            "versions": environment.versions(),
        }
        self.assertEndsWith(environment.described(about), about["versions"]["numpy"])
        fields = {"platform": "Linux", "python": "3.12", "jax": "0.11"}
        gpu = {"runs": 2, "device": "H200", "fast": True, **fields}
        cpu = {"runs": 1, "device": "cpu", "fast": False, **fields}
        told = environment.described(about | {"elsewhere": [gpu, cpu]})
        self.assertIn("2 runs were exported, and trained by JAX 0.11 on H200", told)
        self.assertIn(
            "with products in the device's default precision. 1 run was", told
        )
        self.assertEndsWith(told, "on cpu, Linux, with products in full precision")
        # Records of before hold one.
        one = environment.described(about | {"elsewhere": cpu})
        self.assertEqual(one, environment.described(about | {"elsewhere": [cpu]}))

    def test_origins_of_a_study(self):
        runs = [
            mock.Mock(origin=origin)
            for origin in (None, {"device": "a"}, {"device": "b"}, {"device": "a"})
        ]
        found = report._elsewhere(mock.Mock(runs=runs))["elsewhere"]
        counts = [(origin["device"], origin["runs"]) for origin in found]
        self.assertEqual(counts, [("a", 2), ("b", 1)])
        self.assertEqual(report._elsewhere(mock.Mock(runs=runs[:1])), {})


class AllExperimentsTest(tf.test.TestCase):
    def test_each_claim_is_on_the_page_once(self):
        chapters = []
        for name, experiment in experiments.load().items():
            results = made_up.results(experiment, "cpu")
            judged = [verdicts.judge(claim, results) for claim in experiment.claims]
            study = made_up.study(name, experiment, "cpu")
            chapters.append(sections.Chapter(study, judged, [], {}))
        page = sections.page(chapters, "cpu")
        rows = [_cells(line) for line in page.splitlines() if line.startswith("| ")]
        rows = [row for row in rows if len(row) == len(sections.COLUMNS)]
        rows = [row for row in rows if row[-1].startswith("**")]
        expected = [
            claim.text.replace("|", "\\|")
            for c in chapters
            for claim in c.study.experiment.claims
        ]
        self.assertEqual([row[0] for row in rows], expected)
        seeds = []
        for c in chapters:
            for claim in c.study.experiment.claims:
                of = c.study.experiment.seeds_of_runs("cpu", claim.sides[0].label)
                seeds.append(range(max(of.start, claim.first_seed("cpu")), of.stop))
        told = {
            range(3): "3, a screen",
            range(4): "4, a screen",
            range(5): "5",
            range(8): "8",
            range(10): "10",
            range(3, 8): "5 fresh, from 3 on",
            range(3, 10): "7 fresh, from 3 on",
            range(10, 15): "5 fresh, from 10 on",
        }
        self.assertEqual([row[4] for row in rows], [told[s] for s in seeds])
        fresh = re.findall("^- linear again, l1: `.*`$", page, re.MULTILINE)
        self.assertLen(fresh, 1)
        self.assertIn(" --data_seed=10 ", fresh[0])
        self.assertEndsWith(fresh[0], " --seed=10`")


def _cells(line):
    """The cells of a row of a table; a pipe behind a backslash divides nothing."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _anchor(heading):
    """GitHub's rule: small letters, no punctuation but - and _, - for a space."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    tf.test.main()
