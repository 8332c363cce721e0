"""Tests of the verdicts on claims."""

import math

import tensorflow as tf
from absl.testing import parameterized

from tests.reproduction import made_up
from tfbn.reproduction import claims
from tfbn.reproduction import verdicts
from tfbn.reproduction.verdicts import CONTRADICTED
from tfbn.reproduction.verdicts import EQUIVALENT
from tfbn.reproduction.verdicts import HOLDS
from tfbn.reproduction.verdicts import OPEN

_INF, _NAN = math.inf, math.nan
_NUMBER = made_up.NUMBER
_SIZE = _NUMBER._replace(log=True)
_LARGER = claims.larger("", "", _NUMBER, "a", than="b")
_SMALLER = claims.smaller("", "", _NUMBER, "a", than="b")
_TWICE = claims.larger("", "", _SIZE, "a", than="b", by=2.0)
_MORE_BY_2 = claims.larger("", "", _NUMBER, "a", than="b", by=2.0)
_NEAR = claims.near("", "", _NUMBER, "a", to="b", within=1.0)
_NEAR_FACTOR = claims.near("", "", _SIZE, "a", to="b", within=1.25)
_NOT_LESS = claims.not_less("", "", _NUMBER, "a", than="b", within=1.0)
_NOT_MORE = claims.not_more("", "", _SIZE, "a", than="b", within=1.5)
_BETWEEN = claims.between("", "", _NUMBER, "a", low=2.0, high=4.0)


def _verdict(claim, scale="cpu", **numbers):
    return verdicts.judge(claim, made_up.numbers(scale, **numbers)).verdict


class VerdictsTest(tf.test.TestCase, parameterized.TestCase):
    # t = 4.30 with three seeds: the mean of 1.0, 1.1 and 1.2 is 1.1 +- 0.25.
    @parameterized.named_parameters(
        ("apart", _LARGER, (4, 5.1, 6.2), (3, 4, 5), HOLDS),
        ("apart_the_other_way", _LARGER, (3, 4, 5), (4, 5.1, 6.2), CONTRADICTED),
        ("smaller", _SMALLER, (3, 4, 5), (4, 5.1, 6.2), HOLDS),
        ("pairs_that_disagree", _LARGER, (4, 5, 6), (3, 5, 7.5), OPEN),
        # All of one side are above all of the other, but by very different numbers.
        ("ranges_apart", _LARGER, (4, 9, 20), (1, 2, 3), OPEN),
        # The ranges overlap, but each pair shows the same.
        ("ranges_overlap", _LARGER, (2, 4.1, 6.2), (1, 3, 5), HOLDS),
        ("equal", _LARGER, (2, 2, 2), (2, 2, 2), OPEN),
        ("not_measured", _LARGER, (1, 2, _NAN), (4, 5, 6), OPEN),
        ("not_measured_there", _LARGER, (1, 2, 3), (4, _NAN, 6), OPEN),
        ("two_seeds", _LARGER, (4, 5.01), (1, 2), OPEN),
        ("twice", _TWICE, (2.4, 5.0, 7.6), (1, 2, 3), HOLDS),
        ("larger_but_not_twice", _TWICE, (1.4, 3.0, 4.6), (1, 2, 3), CONTRADICTED),
        ("about_twice", _TWICE, (2.1, 3.9, 6.1), (1, 2, 3), OPEN),
        ("more_by_two", _MORE_BY_2, (3.5, 4.6, 5.7), (1, 2, 3), HOLDS),
        ("not_more_by_two", _MORE_BY_2, (2.0, 3.1, 4.2), (1, 2, 3), CONTRADICTED),
        ("near", _NEAR, (1.0, 2.1, 3.2), (1, 2, 3), EQUIVALENT),
        ("near_at_a_distance", _NEAR, (1.5, 2.5, 3.51), (1, 2, 3), EQUIVALENT),
        ("near_or_far", _NEAR, (1.7, 2.9, 4.1), (1, 2, 3), OPEN),
        ("far", _NEAR, (4, 5.1, 6.2), (1, 2, 3), CONTRADICTED),
        ("far_below", _NEAR, (1, 2, 3), (4, 5.1, 6.2), CONTRADICTED),
        ("near_in_ratio", _NEAR_FACTOR, (1.0, 2.05, 3.1), (1, 2, 3), EQUIVALENT),
        ("far_in_ratio", _NEAR_FACTOR, (0.5, 1.0, 1.51), (1, 2, 3), CONTRADICTED),
        ("no_less", _NOT_LESS, (5, 6.1, 7.2), (1, 2, 3), HOLDS),
        ("little_less", _NOT_LESS, (0.8, 1.7, 2.8), (1, 2, 3), HOLDS),
        ("much_less", _NOT_LESS, (1, 2, 3), (4, 5.1, 6.2), CONTRADICTED),
        ("little_more", _NOT_MORE, (1.1, 2.3, 3.2), (1, 2, 3), HOLDS),
        ("much_more", _NOT_MORE, (2.0, 4.1, 6.2), (1, 2, 3), CONTRADICTED),
    )
    def test_of_two(self, claim, a, b, expected):
        self.assertEqual(_verdict(claim, a=a, b=b), expected)

    @parameterized.named_parameters(
        ("inside", (2.9, 3, 3.1), HOLDS),
        ("above", (6, 6.1, 6.2), CONTRADICTED),
        ("in_and_out", (3, 3.5, 5), OPEN),
        ("not_measured", (5, 6, _NAN), OPEN),
        ("two_seeds", (3, 3.01), OPEN),
    )
    def test_of_one(self, values, expected):
        self.assertEqual(_verdict(_BETWEEN, a=values), expected)

    def test_what_never_happens_is_decided_by_the_signs(self):
        for seeds, expected in ((5, OPEN), (6, HOLDS)):
            numbers = {"a": (_INF,) * seeds, "b": range(1, seeds + 1)}
            for claim in (_LARGER, _TWICE):
                self.assertEqual(_verdict(claim, **numbers), expected)
            self.assertEqual(_verdict(_LARGER, a=numbers["a"], b=numbers["a"]), OPEN)
        judged = verdicts.judge(_TWICE, made_up.numbers(a=(0.0,) * 6, b=(1.0,) * 6))
        self.assertEqual((judged.verdict, judged.p.false), (CONTRADICTED, 2 / 64))

    def test_scales_at_which_a_claim_can_be_decided(self):
        numbers = {"a": (4, 5.1, 6.2), "b": (1, 2, 3)}
        self.assertEqual(_verdict(_LARGER, "paper", **numbers), HOLDS)
        self.assertEqual(_verdict(_LARGER, "smoke", **numbers), OPEN)
        only = claims.larger("", "", _NUMBER, "a", than="b", scales=("cpu",))
        self.assertEqual(_verdict(only, "cpu", **numbers), HOLDS)
        self.assertEqual(_verdict(only, "paper", **numbers), OPEN)

    def test_values_and_contrasts_are_those_of_the_seeds_in_their_order(self):
        judgement = verdicts.judge(_LARGER, made_up.numbers(a=(5, 4, 6), b=(3, 1, 2)))
        self.assertEqual(judgement.values, [[5, 4, 6], [3, 1, 2]])
        self.assertEqual(judgement.contrasts, [2, 3, 4])
        self.assertAllClose(judgement.estimate.mean, 3.0)
        self.assertEqual(judgement.sign_flip, 0.25)
        judgement = verdicts.judge(_TWICE, made_up.numbers(a=(8, 2, 1), b=(2, 1, 4)))
        expected = [math.log(4), math.log(2), -math.log(4)]
        self.assertAllClose(judgement.contrasts, expected)


class TogetherTest(tf.test.TestCase):
    """p of the differences 1.0, 1.3 and 1.6 is 0.0174: twice that is below 5 %."""

    _NUMBERS = {"a": (2.0, 3.3, 4.6), "b": (1, 2, 3)}

    def _judged(self, *papers, scales=("cpu",)):
        made = [
            claims.larger("", paper, _NUMBER, "a", than="b", scales=scales)
            for paper in papers
        ]
        return verdicts.judge_all(made, made_up.numbers(**self._NUMBERS))

    def test_p_is_adjusted_for_the_claims_of_the_same_source(self):
        for number, verdict in ((1, HOLDS), (2, HOLDS), (3, OPEN)):
            judged = self._judged(*["as stated"] * number)
            for judgement in judged:
                self.assertEqual(judgement.verdict, verdict)
                self.assertEqual(judgement.alone, HOLDS)
                expected = number * judgement.p.true
                self.assertAllClose(judgement.adjusted, expected)
        sources = ["1", "2", claims.OURS, claims.OURS, claims.READERS]
        self.assertEqual({j.verdict for j in self._judged(*sources)}, {HOLDS})
        self.assertEqual(
            [j.claim.source for j in self._judged(*sources)],
            ["paper", "paper", claims.OURS, claims.OURS, claims.READERS],
        )

    def test_claims_of_other_scales_do_not_count(self):
        made = [_LARGER, *self._others()]
        judged = verdicts.judge_all(made, made_up.numbers(**self._NUMBERS))
        self.assertEqual([j.verdict for j in judged], [HOLDS] + [OPEN] * 5)

    def _others(self):
        return [claims.larger("", "", _NUMBER, "a", than="b", scales=("paper",))] * 5


if __name__ == "__main__":
    tf.test.main()
