"""Tests of intervals, exact tests and Holm's correction against closed forms."""

import math
from unittest import mock

import numpy as np
import scipy  # which loads scipy.stats when it is used: 1.5 s
import tensorflow as tf
from absl.testing import parameterized

from tfbn.reproduction import inference
from tfbn.reproduction.inference import Region

_INF = math.inf
_POSITIVE = Region(low=0.0)


class IntervalTest(tf.test.TestCase, parameterized.TestCase):
    def test_of_three(self):
        # Mean 2, standard error 1 / sqrt(3); t is 4.3 with two degrees of freedom.
        found = inference.estimate([1.0, 2.0, 3.0])
        half = 4.302652729749464 / math.sqrt(3.0)
        self.assertAllClose([*found], [2.0, 2.0 - half, 2.0 + half], rtol=1e-12)

    @parameterized.parameters(
        ([2.0, 2.0, 2.0], 2.0), ([1.0, _INF, 2.0], math.nan), ([1.0], 1.0)
    )
    def test_of_what_has_none(self, contrasts, mean):
        found = inference.estimate(contrasts)
        self.assertAllEqual(found, (mean, math.nan, math.nan))

    @parameterized.parameters(
        (Region(low=0.0),),
        (Region(high=0.5),),
        (Region(-0.3, 0.6),),
    )
    def test_p_is_small_where_the_interval_is_on_one_side(self, region):
        rng = np.random.default_rng(0)
        seen = set()
        for mean in np.linspace(-1.0, 1.0, 60):
            contrasts = mean + 0.15 * rng.normal(size=4)
            _, low, high = inference.estimate(contrasts)
            inside = region.low < low and high < region.high
            outside = high < region.low or region.high < low
            p = inference.p_values(contrasts, region)
            self.assertEqual((p.true <= 0.05, p.false <= 0.05), (inside, outside))
            seen.add((inside, outside))
        self.assertLen(seen, 3)

    def test_p_is_that_of_the_two_sided_t_test(self):
        contrasts = [0.1, 0.5, 0.2, 0.4]
        expected = scipy.stats.ttest_1samp(contrasts, 0.0).pvalue
        found = inference.p_values(contrasts, _POSITIVE)
        self.assertAllClose([*found], [expected, 1.0], rtol=1e-12)


class SignFlipTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((1.0, 2.0, 3.0), 2 / 8),
        ((-1.0, 2.0, 3.0), 4 / 8),  # sums of at least 4: those of 1 and -1
        ((_INF, 1.0, 2.0, 5.0), 2 / 16),
        ((2.0,) * 6, 2 / 64),
        (tuple(range(1, 11)), 2 / 1024),
        ((0.0, 0.0, 0.0), 1.0),
        ((-1.0, -2.0, -3.0), 1.0),
    )
    def test_counts_the_flips(self, contrasts, expected):
        found = inference.sign_flip(contrasts, _POSITIVE)
        self.assertAlmostEqual(found.true, expected)

    def test_is_that_of_scipy(self):
        rng = np.random.default_rng(0)
        for size in (3, 7, 11):
            contrasts = rng.normal(size=size) + 0.5
            for way, found in zip(
                ("greater", "less"),
                inference.sign_flip(contrasts, _POSITIVE),
                strict=True,
            ):
                expected = scipy.stats.permutation_test(
                    (contrasts,),
                    np.mean,
                    permutation_type="samples",
                    alternative=way,
                    n_resamples=2**size,
                ).pvalue
                self.assertAllClose(found, min(1.0, 2.0 * expected), rtol=1e-12)

    def test_of_more_seeds_than_can_be_listed(self):
        found = inference.sign_flip([0.0] * 10 + [1.0] * 8, _POSITIVE)
        self.assertAllClose(found.true, 2 / 256, rtol=0.2)

    def test_stands_in_where_there_is_no_t_test(self):
        for contrasts in ((2.0,) * 6, (_INF,) * 6):
            found = inference.p_values(contrasts, _POSITIVE)
            self.assertEqual(found, (2 / 64, 1.0))


class HolmTest(tf.test.TestCase):
    def test_steps_down(self):
        # 0.01 * 4, 0.02 * 3, then no less than that, and the last as it is.
        found = inference.holm([0.03, 0.01, 0.2, 0.02])
        self.assertAllClose(found, [0.06, 0.04, 0.2, 0.06])
        self.assertEqual(inference.holm([]), [])
        self.assertEqual(inference.holm([0.9, 0.6]), [1.0, 1.0])


class RuleTest(tf.test.TestCase, parameterized.TestCase):
    """How often the rule errs, and finds what there is, on drawn differences."""

    _DRAWS = 2000

    def _rates(self, seeds, effect):
        """The shares of verdicts that are true and false, of "larger"."""
        rng = np.random.default_rng(1)
        found = [
            inference.p_values(effect + rng.normal(size=seeds), _POSITIVE)
            for _ in range(self._DRAWS)
        ]
        return tuple(np.mean(np.array(found) <= inference.LEVEL, axis=0))

    @parameterized.parameters(3, 10)
    def test_of_no_difference(self, seeds):
        # 2.5 % either way, with a standard error of 0.35 %.
        self.assertAllClose(self._rates(seeds, 0.0), (0.025, 0.025), atol=0.012)

    def test_of_no_difference_among_eight_claims(self):
        rng = np.random.default_rng(2)
        wrong = 0
        for _ in range(self._DRAWS // 4):
            drawn = rng.normal(size=(8, 3))
            p = [inference.p_values(row, _POSITIVE).least for row in drawn]
            wrong += min(inference.holm(p)) <= inference.LEVEL
        # 5 %, with a standard error of 1 %.
        self.assertAllClose(wrong / (self._DRAWS // 4), 0.05, atol=0.03)

    def test_of_a_difference_grows_with_the_seeds(self):
        rates = []
        for seeds in (3, 5, 10):
            centre = 2.0 * math.sqrt(seeds)
            reach = scipy.stats.t.ppf(0.975, seeds - 1)
            expected = scipy.stats.nct.sf(reach, seeds - 1, centre)
            rates.append(self._rates(seeds, 2.0)[0])
            self.assertAllClose(rates[-1], expected, atol=0.04)
        self.assertLess(rates[0] + 0.3, rates[1])
        self.assertGreater(rates[2], 0.99)


class MissingTest(tf.test.TestCase):
    def test_is_told_in_a_line(self):
        inference.check_scipy()
        with mock.patch("importlib.util.find_spec", return_value=None):
            with self.assertRaisesRegex(ValueError, r"needs scipy.*tfbn\[reproduce\]"):
                inference.check_scipy()


if __name__ == "__main__":
    tf.test.main()
