"""Tests of the verdicts on claims."""

import itertools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn.reproduction import claims
from tfbn.reproduction.claims import DOES_NOT_HOLD
from tfbn.reproduction.claims import HOLDS
from tfbn.reproduction.claims import NOT_DECIDED
from tfbn.reproduction.measures import Measure
from tfbn.reproduction.results import Results

_INF, _NAN = math.inf, math.nan
_NUMBER = Measure("number", lambda records: records[0]["number"])
_LARGER = claims.larger("", "", _NUMBER, "a", than="b")
_TWICE = claims.larger("", "", _NUMBER, "a", than="b", by=2.0)
_NEAR = claims.near("", "", _NUMBER, "a", to="b", within=1.0)
_BETWEEN = claims.between("", "", _NUMBER, "a", low=2.0, high=4.0)


def _results(scale="cpu", **numbers):
    """One run a seed for each label, of which nothing is known but a number."""
    runs = {
        label: [[{"step": 1, "kind": "train", "number": number}] for number in seeds]
        for label, seeds in numbers.items()
    }
    return Results(scale, runs)


def _verdict(claim, scale="cpu", **numbers):
    return claims.judge(claim, _results(scale, **numbers)).verdict


class VerdictsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("apart", _LARGER, (4, 5, 6), (1, 2, 3), HOLDS),
        ("apart_the_other_way", _LARGER, (1, 2, 3), (4, 5, 6), DOES_NOT_HOLD),
        ("overlapping", _LARGER, (3, 5, 6), (1, 2, 4), NOT_DECIDED),
        ("ends_that_touch", _LARGER, (3, 4, 5), (1, 2, 3), NOT_DECIDED),
        ("ends_that_touch_the_other_way", _LARGER, (1, 2, 3), (3, 4, 5), DOES_NOT_HOLD),
        ("equal", _LARGER, (2, 2, 2), (2, 2, 2), DOES_NOT_HOLD),
        ("never_against_some_time", _LARGER, (_INF,) * 3, (1, 2, 3), HOLDS),
        ("some_time_against_never", _LARGER, (1, 2, 3), (_INF,) * 3, DOES_NOT_HOLD),
        ("never_both", _LARGER, (_INF,) * 3, (_INF,) * 3, DOES_NOT_HOLD),
        ("never_once", _LARGER, (_INF, 1, 1), (2, 2, 2), NOT_DECIDED),
        ("not_measured", _LARGER, (1, 2, _NAN), (4, 5, 6), NOT_DECIDED),
        ("not_measured_there", _LARGER, (1, 2, 3), (4, _NAN, 6), NOT_DECIDED),
        ("never_measured", _LARGER, (_NAN,) * 3, (_NAN,) * 3, NOT_DECIDED),
        ("two_seeds", _LARGER, (4, 5), (1, 2, 3), NOT_DECIDED),
        ("two_seeds_there", _LARGER, (4, 5, 6), (1, 2), NOT_DECIDED),
        ("four_seeds", _LARGER, (4, 5, 6, 7), (1, 2, 3), HOLDS),
        ("twice", _TWICE, (7, 8, 9), (1, 2, 3), HOLDS),
        ("larger_but_not_twice", _TWICE, (4, 5, 6), (3, 3, 3), DOES_NOT_HOLD),
        ("exactly_twice", _TWICE, (6, 6, 6), (3, 3, 3), DOES_NOT_HOLD),
        ("twice_sometimes", _TWICE, (6, 7, 8), (3, 3, 3), NOT_DECIDED),
        ("near", _NEAR, (1, 1.5, 2), (1, 2, 2), HOLDS),
        ("near_above_and_below", _NEAR, (1, 2, 3), (2, 2, 2), HOLDS),
        ("near_to_some", _NEAR, (1, 2, 3), (1, 2, 3), NOT_DECIDED),
        ("far", _NEAR, (1, 2, 3), (5, 6, 7), DOES_NOT_HOLD),
        ("far_below", _NEAR, (5, 6, 7), (1, 2, 3), DOES_NOT_HOLD),
    )
    def test_of_two(self, claim, a, b, expected):
        self.assertEqual(_verdict(claim, a=a, b=b), expected)

    @parameterized.named_parameters(
        ("inside", (2, 3, 4), HOLDS),
        ("above", (5, 6, _INF), DOES_NOT_HOLD),
        ("on_both_sides", (1, 1, 5), DOES_NOT_HOLD),
        ("in_and_out", (3, 3, 5), NOT_DECIDED),
        ("not_measured", (5, 6, _NAN), NOT_DECIDED),
        ("two_seeds", (3, 3), NOT_DECIDED),
    )
    def test_of_one(self, values, expected):
        self.assertEqual(_verdict(_BETWEEN, a=values), expected)

    def test_ends_that_are_not_given_are_open(self):
        low = claims.between("", "", _NUMBER, "a", low=0.5)
        high = claims.between("", "", _NUMBER, "a", high=0.5)
        self.assertEqual(_verdict(low, a=(1, 2, _INF)), HOLDS)
        self.assertEqual(_verdict(low, a=(-1, -2, 0.4)), DOES_NOT_HOLD)
        self.assertEqual(_verdict(high, a=(-_INF, 0, 0.5)), HOLDS)
        self.assertEqual(_verdict(high, a=(0.6, 1, _INF)), DOES_NOT_HOLD)

    def test_scales_at_which_a_claim_can_be_decided(self):
        numbers = {"a": (4, 5, 6), "b": (1, 2, 3)}
        self.assertEqual(_verdict(_LARGER, "paper", **numbers), HOLDS)
        self.assertEqual(_verdict(_LARGER, "smoke", **numbers), NOT_DECIDED)
        only = claims.larger("", "", _NUMBER, "a", than="b", scales=("cpu",))
        self.assertEqual(_verdict(only, "cpu", **numbers), HOLDS)
        self.assertEqual(_verdict(only, "paper", **numbers), NOT_DECIDED)

    def test_values_are_those_of_the_seeds_in_their_order(self):
        results = _results(a=(5, 4, 6), b=(3, 1, 2))
        judgement = claims.judge(_LARGER, results)
        self.assertEqual(judgement.values, [[5, 4, 6], [3, 1, 2]])
        self.assertIs(judgement.claim, _LARGER)

    @parameterized.parameters(1.0, 2.0, 0.5)
    def test_larger_means_that_the_ranges_do_not_overlap(self, by):
        claim = claims.larger("", "", _NUMBER, "a", than="b", by=by)
        rng = np.random.default_rng(0)
        seen = set()
        for _ in range(200):
            a, b = rng.choice([0.0, 1.0, 2.0, 3.0, 4.0, _INF], size=(2, 3)).tolist()
            if min(a) > by * max(b):
                expected = HOLDS
            else:
                expected = DOES_NOT_HOLD if max(a) <= by * min(b) else NOT_DECIDED
            seen.add(expected)
            self.assertEqual(_verdict(claim, a=a, b=b), expected, f"{a} {b}")
        self.assertLen(seen, 3)

    def test_chance_of_a_verdict_without_a_difference(self):
        orders = [
            _verdict(
                _LARGER,
                a=[place for place in range(6) if place in places],
                b=[place for place in range(6) if place not in places],
            )
            for places in itertools.combinations(range(6), 3)
        ]
        self.assertLen(orders, 20)  # all as likely
        self.assertEqual((orders.count(HOLDS), orders.count(DOES_NOT_HOLD)), (1, 1))


class SweepTest(tf.test.TestCase):
    def _sweep(self, of, **points):
        return claims.Sweep("sweep", points, _NUMBER, Measure("of all", of))

    def test_one_number_a_seed_of_all_points(self):
        results = _results(a=(1, 2, 3), b=(10, 20, 30))
        sweep = self._sweep(list, b=0.5, a=0.1)
        self.assertEqual(
            sweep.values(results),
            [[(0.5, 10), (0.1, 1)], [(0.5, 20), (0.1, 2)], [(0.5, 30), (0.1, 3)]],
        )

    def test_points_that_are_not_run_are_left_out(self):
        results = _results(a=(1, 2, 3), c=(7, 8, 9))
        sweep = self._sweep(len, a=0.1, b=0.2, c=0.3)
        self.assertEqual(sweep.values(results), [2, 2, 2])

    def test_a_claim_about_two(self):
        results = _results(a=(1, 2, 3), b=(9, 8, 9), c=(4, 5, 6))

        def greatest(pairs):
            return max(number for _, number in pairs)

        both = self._sweep(greatest, a=1.0, b=2.0)
        one = self._sweep(greatest, a=1.0, c=2.0)
        judgement = claims.judge(claims.exceeds("", "", both, than=one), results)
        self.assertEqual(judgement.values, [[9, 8, 9], [4, 5, 6]])
        self.assertEqual(judgement.verdict, HOLDS)
        turned = claims.judge(claims.exceeds("", "", one, than=both), results)
        self.assertEqual(turned.verdict, DOES_NOT_HOLD)


if __name__ == "__main__":
    tf.test.main()
