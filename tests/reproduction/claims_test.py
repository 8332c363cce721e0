"""Tests of the sides of claims."""

import tensorflow as tf

from tests.reproduction import made_up
from tfbn.reproduction import claims
from tfbn.reproduction import verdicts
from tfbn.reproduction.measures import Measure


class SideTest(tf.test.TestCase):
    def test_derived_records_know_the_seed(self):
        def halved_less_the_seed(records, seed):
            return [{"number": records[0]["number"] / 2 - seed}]

        side = claims.Side("a", made_up.NUMBER, halved_less_the_seed)
        self.assertEqual([4.0, 3.0, 2.0], side.values(made_up.numbers(a=(8, 8, 8))))


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
