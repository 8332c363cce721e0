"""Tests of the experiments on made-up records: nothing is trained."""

import math
import os

import tensorflow as tf
from absl.testing import parameterized

from tests.reproduction import made_up
from tfbn.reproduction import claims
from tfbn.reproduction import experiments
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction.experiment import PAPERS
from tfbn.reproduction.experiment import SCALES
from tfbn.reproduction.experiment import SEEDS

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ALL = experiments.load()
_EACH = tuple((name, name) for name in _ALL)


class ExperimentsTest(tf.test.TestCase, parameterized.TestCase):
    def test_all_are_found_in_the_order_of_the_papers(self):
        folder = os.path.join(_ROOT, "tfbn", "reproduction", "experiments")
        files = {f[:-3] for f in os.listdir(folder) if f.endswith(".py")}
        self.assertCountEqual(_ALL, files - {"__init__"})
        papers = [experiment.paper for experiment in _ALL.values()]
        self.assertEqual(list(dict.fromkeys(papers)), list(PAPERS))
        self.assertEqual(papers, sorted(papers, key=list(PAPERS).index))

    def test_headings_have_anchors_of_their_own(self):
        titles = [experiment.title for experiment in _ALL.values()]
        self.assertLen(set(titles), len(titles))

    @parameterized.named_parameters(*_EACH)
    def test_claims_are_of_runs_and_have_a_number_a_seed(self, name):
        experiment = _ALL[name]
        self.assertStartsWith(name, f"{experiment.paper}_")
        self.assertNotEmpty({"train", "eval"} & set(experiment.kinds))
        self.assertLen(
            {claim.text for claim in experiment.claims}, len(experiment.claims)
        )
        for scale in SCALES:
            runs = experiment.runs(scale)
            results = made_up.results(experiment, scale)
            for claim in experiment.claims:
                self.assertTrue(claim.paper)
                for side in claim.sides:
                    points = (
                        [side.label] if isinstance(side, claims.Side) else side.points
                    )
                    if scale == "smoke":
                        self.assertNotEmpty(set(points) & set(runs))
                    else:
                        self.assertContainsSubset(points, runs)
                judgement = verdicts.judge(claim, results)
                seeds = set.intersection(
                    *(
                        set(experiment.seeds_of_runs(scale, side.label))
                        for side in claim.sides
                    )
                )
                seeds = {s for s in seeds if s >= claim.first_seed(scale)}
                self.assertNotEmpty(seeds, claim.text)
                for values in judgement.values:
                    self.assertLen(values, len(seeds), claim.text)
                    # Some are about steps that a smoke test does not get to.
                    if scale in claim.scales:
                        self.assertTrue(all(map(math.isfinite, values)), claim.text)
                if scale not in claim.scales:
                    self.assertEqual(judgement.verdict, verdicts.OPEN)

    @parameterized.named_parameters(*_EACH)
    def test_diverged_runs_are_judged_and_told_in_words(self, name):
        results = made_up.results(_ALL[name], "cpu", diverges=True)
        for claim in _ALL[name].claims:
            told = " ".join(sections.row(verdicts.judge(claim, results)))
            self.assertNotRegex(told, r"\b(nan|inf)\b")

    @parameterized.named_parameters(*_EACH)
    def test_figures(self, name):
        for options in ({"scale": "smoke"}, {"scale": "cpu", "diverges": True}):
            results = made_up.results(_ALL[name], **options)
            for key, draw in _ALL[name].figures.items():
                panels = [axis for axis in draw(results).axes if axis.axison]
                self.assertNotEmpty(panels)
                for axis in panels:
                    texts = [text.get_text() for text in axis.texts]
                    self.assertNotIn("nothing was recorded", texts, key)

    @parameterized.parameters("smoke", "cpu", "paper")
    def test_runs_that_experiments_share(self, scale):
        folders = {
            name: {run.config.run_dir: run.label for run in _runs(name, scale)}
            for name in _ALL
        }
        landscape = folders["santurkar_fig4_landscape"]
        few = SEEDS[scale]
        many, again, of_vgg = (10, 5, 8) if scale == "cpu" else (few, few, few)
        self.assertLen(landscape, 4 * many)
        linear = {f for f, label in landscape.items() if label.startswith("linear")}
        self.assertLen(linear, 2 * many)
        # At the cpu scale their VGG is narrower.
        of_narrow = linear if scale == "cpu" else set(landscape)
        for name, number, shared in (
            ("santurkar_fig2_noise", 8 * of_vgg + 4 * many, of_narrow),
            ("santurkar_fig3_covariate_shift", 8 * many, set(landscape)),
            ("santurkar_fig5_lp_norms", 5 * of_vgg + 5 * many + 4 * again, of_narrow),
        ):
            self.assertEqual(shared, set(landscape) & set(folders[name]))
            self.assertLen(folders[name], number)
        noise, lp = folders["santurkar_fig2_noise"], folders["santurkar_fig5_lp_norms"]
        self.assertLen(set(noise) & set(lp), 2 * of_vgg + 2 * many)

    @parameterized.parameters("smoke", "cpu", "paper")
    def test_domains_are_scored_from_their_first_change_on(self, scale):
        experiment = _ALL["ioffe_2017_sec4_batches"]
        found = [c for c in experiment.claims if "one domain after" in c.text]
        self.assertLen(found, 5)
        for side in [side for claim in found for side in claim.sides]:
            options = experiment.runs(scale)[side.label]
            first = options["steps_per_domain"]
            end = {"smoke": 20}.get(scale) or options["train_steps"]
            records = [
                {"step": step, "kind": "eval", "accuracy": 0.5 if step > first else 0.0}
                for step in range(first // 5, end + 1, first // 5)
            ]
            self.assertEqual(side.measure.of(records), 0.5)

    @parameterized.named_parameters(*_EACH)
    def test_smoke_is_quick_and_needs_no_data(self, name):
        for run in _runs(name, "smoke"):
            self.assertIn(run.config.dataset, ("shapes", "gaussian"))
            self.assertLessEqual(run.config.train_steps, 20)


def _runs(name, scale):
    return made_up.study(name, _ALL[name], scale).runs


if __name__ == "__main__":
    tf.test.main()
