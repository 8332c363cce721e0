"""Tests of tfbn.plots.runs."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import by_layer
from tests.plots.helpers import evaluations
from tests.plots.helpers import ics
from tests.plots.helpers import train
from tfbn.plots import runs


class RunsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("train", train([1.0, math.nan]), True),
        ("eval", evaluations([math.inf]), True),
        ("ics", ics([1.0, math.nan]), True),
        ("landscape", [{"step": 1, "kind": "landscape", "loss": math.inf}], True),
        ("curvature", [{"step": 1, "kind": "curvature", "eigenvalue": math.nan}], True),
        ("activations", by_layer("activations", {"mean": math.inf}), True),
        ("replication", by_layer("replication", {"distance": math.nan}), True),
        ("gap", train([1.0, math.nan, 1.0]), False),
        ("unsorted", train([1.0, math.nan, 1.0])[::-1], False),
        ("cosine", ics([1.0], [math.nan]), False),
        ("nothing", [], False),
    )
    def test_diverged(self, records, expected):
        (run,) = runs.styled({"a": records})
        self.assertIs(run.diverged, expected)

    def test_limits_of_bands(self):
        rows = [[3.0, -1.0, 0.0, 2.0], [math.nan, 5.0], [math.inf, math.nan], [-2.0]]
        records = [
            {"step": 9 - i, "kind": "landscape", "losses": row}
            for i, row in enumerate(rows)
        ]
        records.append({"step": 1, "kind": "landscape", "losses": None})
        (band,) = runs.bands(runs.styled({"a": records}), "landscape", "losses")
        self.assertAllEqual(band.steps, [6, 7, 8, 9])
        low, high = band.limits(positive=False)
        self.assertAllEqual(low, [-2.0, math.nan, 5.0, -1.0])
        self.assertAllEqual(high, [-2.0, math.nan, 5.0, 3.0])
        low, high = band.limits(positive=True)
        self.assertAllEqual(low, [math.nan, math.nan, 5.0, 2.0])
        self.assertAllEqual(high, [math.nan, math.nan, 5.0, 3.0])
        self.assertAllEqual(np.sort(runs.finite([band])), [-2, -1, 0, 2, 3, 5])


if __name__ == "__main__":
    tf.test.main()
