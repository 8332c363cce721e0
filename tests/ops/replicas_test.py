"""Tests of statistics that replicas share: against float64 ones of the whole batch."""

import collections

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn.ops import replicas
from tfbn.ops import requests

# A few roundings of float32, relative to the spread.
EXACT = 2e-6


def run(function, *parts):
    """What `function` returns on each of two replicas, for its part of each pair."""
    strategy = testing_utils.two_cpus_strategy()

    def values(context):
        index = context.replica_id_in_sync_group
        return [tf.constant(pair[index]) for pair in parts]

    inputs = strategy.experimental_distribute_values_from_function(values)
    result = tf.function(lambda: strategy.run(function, inputs), autograph=False)()
    local = strategy.experimental_local_results
    return tf.nest.map_structure(local, result)


def all_replicas():
    """`Replicas` where the statistics are shared."""
    x = tf.zeros([1, 1])
    return replicas.Replicas(requests.request("batch_norm", x, 1, synchronized=True))


def moments(x):
    """`Moments` of rows, in float32 as a replica has them."""
    x = x.astype("float64")
    mean = x.mean(0) if len(x) else np.zeros(x.shape[1:])
    rounded = np.float32(mean)
    spread = x.var(0) if len(x) else np.zeros(x.shape[1:])
    numbers = rounded, mean - rounded, spread, float(len(x))
    return replicas.Moments(*(np.float32(number) for number in numbers))


class JoinTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (0.0, 40, 24), (1e4, 50, 3), (1e6, 1, 60), (1e6, 0, 30), (0.0, 0, 0)
    )
    def test_moments(self, offset, *sizes):
        """Also of parts with other means, of one element, and of none."""
        rng = np.random.default_rng(0)
        parts = [
            (rng.normal([offset, 3.0, i], [1.0, 2.0, 0.1], (size, 3))).astype("float32")
            for i, size in enumerate(sizes)
        ]
        joined = run(
            lambda *part: all_replicas().join(replicas.Moments(*part)),
            *zip(*map(moments, parts), strict=True),
        )
        expected = moments(np.concatenate(parts))
        mean, remainder, spread, count = (np.float64(field) for field in joined)
        for replica in range(2):
            mean_is = mean[replica] + remainder[replica]
            mean_should = np.float64(expected.mean) + expected.remainder
            self.assertAllClose(mean_is, mean_should, rtol=1e-13, atol=EXACT)
            self.assertAllClose(spread[replica], expected.spread, rtol=EXACT)
            self.assertEqual(count[replica], sum(sizes))

    def test_counts_of_each_channel(self):
        """As masks have them that differ from channel to channel."""
        mean = [[1.0, 5.0]], [[3.0, 7.0]]
        none = [[0.0, 0.0]], [[0.0, 0.0]]
        count = [[3.0, 0.0]], [[1.0, 2.0]]
        joined = run(
            lambda *part: all_replicas().join(replicas.Moments(*part)),
            mean,
            none,
            none,
            count,
        )
        self.assertAllEqual(joined.mean[0], [[1.5, 7.0]])
        self.assertAllEqual(joined.spread[1], [[0.75, 0.0]])
        self.assertAllEqual(joined.count[0], [[4.0, 2.0]])

    @parameterized.parameters(
        (replicas.mean_spread, [2.0, 6.5]), (replicas.largest_spread, [5.0, 8.0])
    )
    def test_spreads_other_than_the_variance(self, join_spreads, expected):
        zeros = [0.0, 0.0], [0.0, 0.0]
        spread, count = ([1.0, 8.0], [5.0, 2.0]), (3.0, 1.0)
        joined = run(
            lambda *part: all_replicas().join(replicas.Moments(*part), join_spreads),
            *(zeros, zeros, spread, count),
        )
        self.assertAllEqual(joined.spread, [expected] * 2)

    def test_gather_keeps_nan_in_its_row(self):
        a, b = run(
            lambda *values: all_replicas().gather(values),
            ([np.nan, 1.0], [2.0, 3.0]),
            (4.0, 5.0),
        )
        for replica in range(2):
            self.assertAllEqual(a[replica], [[np.nan, 1.0], [2.0, 3.0]])
            self.assertAllEqual(b[replica], [4.0, 5.0])

    def test_totals(self):
        sums = ([1.0], [2.0]), ([3.0], [5.0])
        totals = run(lambda *sums: all_replicas().totals(*sums), *sums)
        self.assertAllEqual(totals, [[[3.0], [3.0]], [[8.0], [8.0]]])

    def test_a_single_replica_sends_nothing(self):
        alone, part = all_replicas(), replicas.Moments(*map(tf.constant, range(4)))
        self.assertIs(alone.join(part), part)
        self.assertIs(alone.totals(part.mean)[0], part.mean)


class MessagesTest(tf.test.TestCase, parameterized.TestCase):
    """A layer sends one message forward and one backward; state costs none."""

    @parameterized.parameters(
        (tfbn.BatchNorm, {}, 2),
        (tfbn.BatchRenorm, {"renorm_momentum": 0.9}, 2),
        (tfbn.NoisyBatchNorm, {}, 2),
        (tfbn.LpBatchNorm, {"order": 1}, 2),
        (tfbn.LpBatchNorm, {"order": "inf"}, 2),
        # Distances from the mean of all replicas can be measured only when it is known.
        (tfbn.LpBatchNorm, {"order": 1, "centered": True}, 4),
    )
    def test_number(self, kind, options, expected):
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            layer = kind(synchronized=True, **options)
            layer.build((None, 3))

        def replica_step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.sin(layer(x, training=True)))
            return tape.gradient(loss, x)

        x = strategy.experimental_distribute_values_from_function(
            lambda context: tf.ones([4, 3])
        )
        step = tf.function(lambda x: strategy.run(replica_step, (x,)), autograph=False)
        operations = step.get_concrete_function(x).graph.get_operations()
        types = collections.Counter(operation.type for operation in operations)
        self.assertEqual(types["CollectiveReduceV2"], 2 * expected)
        others = [t for t in types if "Collective" in t or "Nccl" in t]
        self.assertEqual(others, ["CollectiveReduceV2"])


if __name__ == "__main__":
    tf.test.main()
