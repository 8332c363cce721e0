"""Tests of the page in HTML: it needs nothing beside it, and loses nothing."""

import html.parser
import math

import tensorflow as tf
from absl.testing import parameterized

from tests.reproduction import made_up
from tfbn.reproduction import claims
from tfbn.reproduction import dots
from tfbn.reproduction import experiments
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction import web_page
from tfbn.reproduction.inference import Estimate
from tfbn.reproduction.inference import Region


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, and the cells of the tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "rect", "line", "circle", "path"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append((dict(attributes)["data-label"], []))

    def handle_endtag(self, tag):
        if tag == self.open[-1]:
            self.open.pop()

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1][1].append(data)

    def of(self, tag, attribute):
        return [a[attribute] for name, a in self.tags if name == tag and attribute in a]


class WebPageTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.chapters, cls.figures = [], {}
        everything = experiments.load()
        for name in "santurkar_fig4_landscape", "replication_one_norm":
            experiment = everything[name]
            results = made_up.results(experiment, "cpu", diverges=True)
            judged = verdicts.judge_all(experiment.claims, results)
            study = made_up.study(name, experiment, "cpu")
            chapter = sections.Chapter(study, judged, [f"{name}.png"], {})
            cls.chapters.append(chapter)
            cls.figures[f"{name}.png"] = name.encode()
        cls.text = web_page.page(cls.chapters, "cpu", cls.figures)
        cls.page = _Page(cls.text)

    def test_needs_nothing_beside_it(self):
        self.assertEmpty(self.page.open)
        self.assertEmpty({"link", "iframe"} & {tag for tag, _ in self.page.tags})
        self.assertEmpty(self.page.of("script", "src"))
        sources = self.page.of("img", "src")
        self.assertLen(sources, len(self.figures))
        for source in sources:
            self.assertStartsWith(source, "data:image/png;base64,")
        anchors = {f"#{name}" for name in self.page.of("h2", "id")}
        self.assertContainsSubset(set(self.page.of("a", "href")), anchors)

    def test_each_claim_is_in_its_chapter_and_in_the_table_of_all(self):
        told = [words[0] for label, words in self.page.cells if label == "claim"]
        for chapter in self.chapters:
            for claim in chapter.study.experiment.claims:
                times = 3 if claim.source == claims.READERS else 2
                self.assertEqual(told.count(claim.text), times, claim.text)
        self.assertNotRegex(self.text, r">[^<]*\b(nan|inf)\b")

    def test_without_a_figure(self):
        page = _Page(web_page.page(self.chapters, "cpu", {}))
        self.assertEmpty(page.of("img", "src"))


class DotsTest(tf.test.TestCase, parameterized.TestCase):
    def _places(self, svg, attribute="cx"):
        return [float(a[attribute]) for _, a in _Page(svg).tags if attribute in a]

    def test_sides_share_an_axis(self):
        one, other = dots.strips([[0.0, 1.0], [2.0, 3.0]], log=False)
        self.assertEqual(self._places(one) + self._places(other), [6, 42, 78, 114])
        (logs,) = dots.strips([[1.0, 10.0, 100.0]], log=True)
        self.assertEqual(self._places(logs), [6, 60, 114])

    def test_what_is_not_finite(self):
        (svg,) = dots.strips([[1.0, math.inf, math.nan]], log=False)
        self.assertLen(self._places(svg), 1)
        self.assertEqual(svg.count("class='beyond'"), 1)

    @parameterized.parameters(
        (Region(low=0.0), (60.0, 60.0)),
        (Region(high=0.0), (0.0, 60.0)),
        (Region(), (0.0, 120.0)),
    )
    def test_the_claim_is_true_in_the_shaded_part(self, region, expected):
        svg = dots.interval(region, Estimate(0.5, -1.0, 1.0), has_zero=True)
        shaded = dict(_Page(svg).tags)["rect"]
        self.assertEqual((float(shaded["x"]), float(shaded["width"])), expected)

    def test_no_interval(self):
        none = Estimate(1.0, math.nan, math.nan)
        self.assertEqual(dots.interval(Region(), none, has_zero=True), "")


if __name__ == "__main__":
    tf.test.main()
