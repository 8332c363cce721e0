"""Tests of the sides of claims."""

import dataclasses

import tensorflow as tf

from tests.reproduction import made_up
from tfbn.reproduction import claims
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction.measures import Measure


class SideTest(tf.test.TestCase):
    def test_derived_records_know_the_seed(self):
        def halved_less_the_seed(records, seed):
            return [{"number": records[0]["number"] / 2 - seed}]

        side = claims.Side("a", made_up.NUMBER, halved_less_the_seed)
        results = made_up.numbers(a=(8, 8, 8))
        self.assertEqual([4.0, 3.0, 2.0], side.values(results))
        later = dataclasses.replace(results, seeds={"a": [1, 2, 10]})
        self.assertEqual([3.0, 2.0, -6.0], side.values(later))


class SeedsTest(tf.test.TestCase):
    def _values(self, claim, **seeds):
        results = made_up.numbers(a=(1, 2, 3, 4), b=(10, 20, 30))
        return claim.values(dataclasses.replace(results, seeds=seeds))

    def test_pairs_are_of_one_seed(self):
        claim = claims.larger("", "", made_up.NUMBER, "a", than="b")
        self.assertEqual(self._values(claim), [[1, 2, 3], [10, 20, 30]])
        shared = self._values(claim, b=[1, 3, 5])
        self.assertEqual(shared, [[2, 4], [10, 20]])
        self.assertEqual(self._values(claim, b=[10, 11, 12]), [[], []])

    def test_those_that_suggested_a_claim_do_not_decide_it(self):
        first = {"cpu": 2}
        claim = claims.larger("", "", made_up.NUMBER, "a", "b", seeds_from=first)
        self.assertEqual(self._values(claim), [[3], [30]])
        later = {"a": [1, 2, 3, 4], "b": [2, 3, 4]}
        self.assertEqual(self._values(claim, **later), [[2, 3, 4], [10, 20, 30]])
        at_another_scale = made_up.numbers("paper", a=(1, 2, 3), b=(10, 20, 30))
        self.assertEqual(claim.values(at_another_scale), [[1, 2, 3], [10, 20, 30]])

    def test_without_seeds_that_decide_it_a_claim_is_open(self):
        results = made_up.numbers(a=(5, 6.1, 7.2), b=(1, 2, 3))
        claim = claims.larger("", "", made_up.NUMBER, "a", "b")
        self.assertEqual(verdicts.judge(claim, results).verdict, verdicts.HOLDS)
        fresh = dataclasses.replace(claim, seeds_from=claims.FRESH)
        judged = verdicts.judge(fresh, results)
        self.assertEqual((judged.verdict, judged.num_seeds), (verdicts.OPEN, 0))
        told = sections.row(judged)
        self.assertEqual(told[4], "0 fresh, from 3 on, a screen")


class SweepTest(tf.test.TestCase):
    def _sweep(self, of, **points):
        return claims.Sweep("sweep", points, made_up.NUMBER, Measure("of all", of))

    def test_one_number_a_seed_of_all_points(self):
        results = made_up.numbers(a=(1, 2, 3), b=(10, 20, 30))
        sweep = self._sweep(list, b=0.5, a=0.1)
        self.assertEqual(
            sweep.values(results),
            [[(0.5, 10), (0.1, 1)], [(0.5, 20), (0.1, 2)], [(0.5, 30), (0.1, 3)]],
        )

    def test_points_that_are_not_run_are_left_out(self):
        results = made_up.numbers(a=(1, 2, 3), c=(7, 8, 9))
        sweep = self._sweep(len, a=0.1, b=0.2, c=0.3)
        self.assertEqual(sweep.values(results), [2, 2, 2])

    def test_a_claim_about_two(self):
        results = made_up.numbers(a=(1, 2, 3), b=(9, 9.5, 11), c=(4, 5, 6))

        def greatest(pairs):
            return max(number for _, number in pairs)

        both = self._sweep(greatest, a=1.0, b=2.0)
        one = self._sweep(greatest, a=1.0, c=2.0)
        judgement = verdicts.judge(claims.exceeds("", "", both, than=one), results)
        self.assertEqual(judgement.values, [[9, 9.5, 11], [4, 5, 6]])
        self.assertEqual(judgement.verdict, verdicts.HOLDS)
        turned = verdicts.judge(claims.exceeds("", "", one, than=both), results)
        self.assertEqual(turned.verdict, verdicts.CONTRADICTED)


if __name__ == "__main__":
    tf.test.main()
