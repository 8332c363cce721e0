"""Tests of the ranks that a deep linear network has learnt."""

import math

import numpy as np
import tensorflow as tf

from tfbn import data
from tfbn.reproduction import plateaus


class PlateausTest(tf.test.TestCase):
    def test_best_losses_of_known_singular_values(self):
        # x has orthonormal columns times 2, so x @ diag(3, 1, 0.5) has the singular
        # values 6, 2 and 1: half the squares that each rank leaves.
        x = 2.0 * np.linalg.qr(np.random.default_rng(0).normal(size=(20, 3)))[0]
        self.assertAllClose(
            [20.5, 2.5, 0.5, 0.0],
            plateaus.best_losses(x @ np.diag([3.0, 1.0, 0.5])),
            rtol=1e-12,
            atol=1e-12,
        )

    def test_best_losses_are_those_of_regression(self):
        # Of reduced rank: the least-squares solution, projected onto the leading right
        # singular vectors of its fit.
        rng = np.random.default_rng(1)
        x, linear_map = rng.normal(size=(50, 4)), rng.normal(size=(4, 4))
        y = x @ linear_map
        solution = np.linalg.lstsq(x, y, rcond=None)[0]
        leading = np.linalg.svd(x @ solution)[2]
        for rank, expected in enumerate(plateaus.best_losses(y)):
            projection = leading[:rank].T @ leading[:rank]
            loss = 0.5 * np.sum((x @ solution @ projection - y) ** 2)
            self.assertNear(expected, loss, 1e-10 * np.sum(y**2))

    def test_ranks_of_losses_on_the_plateaus(self):
        targets = data.gaussian(seed=3).train.targets
        best = plateaus.best_losses(targets)
        losses = [2.0 * best[1], 1.04 * best[1], 1.06 * best[4], 1.04 * best[4], 0.0]
        losses += [math.nan, math.inf]
        records = [
            {"step": 20 * i, "kind": "train", "loss": loss}
            for i, loss in enumerate(losses)
        ]
        records.insert(1, {"step": 7, "kind": "eval", "loss": 0.0})
        found = plateaus.ranks(records, seed=3)
        self.assertEqual([0, 1, 3, 4, 10, 0, 0], [r["rank"] for r in found])
        self.assertEqual([20 * i for i in range(7)], [r["step"] for r in found])
        self.assertEqual(60.0, plateaus.steps_to(4).of(found))
        self.assertEqual(20.0, plateaus.steps_to(1).of(found))

    def test_another_seed_has_other_data(self):
        losses = [
            plateaus.best_losses(data.gaussian(seed=s).train.targets) for s in (0, 1)
        ]
        record = {"step": 1, "kind": "train", "loss": losses[0][5]}
        (of_0,), (of_1,) = (plateaus.ranks([record], seed) for seed in (0, 1))
        self.assertEqual(5, of_0["rank"])
        self.assertNotEqual(of_0["rank"], of_1["rank"])


if __name__ == "__main__":
    tf.test.main()
