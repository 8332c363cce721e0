"""Tests of normalisation by an l_p norm; of the layer there are more.

float32 against float64 references on the same (float32) data.
"""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops

# What tfbn promises, whatever the offset of the data.
EXACT = 2e-6

EPSILON = 1e-2
KINDS = {
    "order": (1, 2, "inf"),
    "centered": (True, False),
    "literal": (True, False),
}


class LpBatchNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(**KINDS)
    def test_any_offset(self, **kind):
        self.check("eager", **kind)

    def test_any_offset_compiled(self):
        self.check("xla", order=2, centered=True)

    @parameterized.product(order=KINDS["order"], mode=("eager", "graph", "xla"))
    def test_long_sums(self, order, mode):
        """Of the gradients of gamma and beta.

        Of two values: a running sum rounds the same way at each step.
        """
        rng = np.random.default_rng(0)
        x = rng.normal(size=(2**16, 3)).astype("float32")
        upstream = np.where(x > 0.0, 0.1, 0.3).astype("float32")

        def call(x, gamma, beta):
            return ops.lp_batch_norm(
                x, gamma, beta, axis=1, epsilon=EPSILON, order=order
            )[:1]

        arguments = [tf.constant(a) for a in (x, *np.ones([2, 3], "float32"))]
        *_, gradients = testing_utils.value_and_gradients(call, mode)(
            arguments, tf.constant(upstream)
        )
        wide = upstream.astype("float64")
        output = testing_utils.lp_output(
            x.astype("float64"),
            epsilon=EPSILON,
            order=order,
            centered=False,
            literal=False,
        )
        expected = np.sum(wide * output, axis=0), np.sum(wide, axis=0)
        for actual, wanted in zip(gradients[1:], expected, strict=True):
            self.assertLess(testing_utils.relative_error(actual, wanted), EXACT)

    def check(self, mode, **kind):
        call = testing_utils.in_mode(
            lambda x: ops.lp_batch_norm(x, None, None, axis=1, epsilon=EPSILON, **kind),
            mode,
        )
        for offset in (0.0, 1e2, 1e4, 1e6):
            rng = np.random.default_rng(0)
            x = testing_utils.random_batch(rng, (63, 3), offset=offset)
            y, statistics = call(tf.constant(x))
            x = x.astype("float64")
            with self.subTest(offset=offset):
                expected = testing_utils.lp_output(x, epsilon=EPSILON, **kind)
                self.assertLess(testing_utils.relative_error(y, expected), EXACT)
                norm = testing_utils.lp_norm(x, **kind)
                self.assertAllClose(statistics.spread, norm, rtol=EXACT)
                self.assertAllClose(statistics.scale, norm + EPSILON, rtol=EXACT)
                self.assertAllClose(
                    statistics.mean, np.mean(x, axis=0), rtol=EXACT, atol=EXACT
                )


if __name__ == "__main__":
    tf.test.main()
