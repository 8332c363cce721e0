"""Tests of tfbn.diagnostics.measurement."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn.diagnostics import measurement

# Sums of a thousand float32 values.
RTOL = 1e-6


class MeasurementTest(tf.test.TestCase, parameterized.TestCase):
    def test_norms_and_products(self):
        rng = np.random.default_rng(0)
        a, b = ([rng.normal(size=(20, 25)), rng.normal(size=500)] for _ in range(2))
        flat_a, flat_b = (np.concatenate([p.ravel() for p in q]) for q in (a, b))
        # Of unequal dtypes, as under a float32 policy with one float64 layer.
        a, b = ([tf.constant(p, tf.float32), tf.constant(q)] for p, q in (a, b))
        self.assertAllClose(measurement.norm(a), np.linalg.norm(flat_a), rtol=RTOL)
        self.assertAllClose(measurement.squared_norm(a), flat_a @ flat_a, rtol=RTOL)
        self.assertAllClose(measurement.dot(a, b), flat_a @ flat_b, rtol=1e-5)
        self.assertEqual(measurement.norm(a).dtype, tf.float64)

    def test_structures_become_tensors(self):
        x, y = measurement.as_batch({"a": np.ones((3, 2)), "b": np.ones(3)}, [0, 1, 2])
        self.assertTrue(tf.is_tensor(x["a"]) and tf.is_tensor(x["b"]))
        self.assertTrue(tf.is_tensor(y))
        self.assertAllEqual(y, [0, 1, 2])

    @parameterized.parameters(
        (np.ones((3, 2)), np.ones(4), r"shapes \(3, 2\), \(4,\)"),
        (np.ones((0, 2)), np.ones(0), r"shapes \(0, 2\), \(0,\)"),
        ({"a": np.ones(2), "b": np.ones(3)}, 1.0, r"shapes \(2,\), \(3,\)"),
    )
    def test_sizes_that_differ_are_refused(self, x, y, shapes):
        with self.assertRaisesRegex(ValueError, f"the same number .*{shapes}"):
            measurement.as_batch(x, y)

    def test_errors_of_the_graph_are_told_in_a_line(self):
        function = measurement.compiled(lambda x, i: tf.gather(x, i))
        self.assertAllEqual(function(tf.constant([4.0, 5.0]), tf.constant(1)), 5.0)
        with self.assertRaisesRegex(ValueError, "the batch must fit.*7") as caught:
            function(tf.constant([4.0, 5.0]), tf.constant(7))
        self.assertNotIn("\n", str(caught.exception))

    def test_compiled_by_xla(self):
        seen = []

        def function(x):
            seen.append(tf.executing_eagerly())
            return 2.0 * x

        compiled = measurement.compiled(function, jit_compile=True)
        self.assertAllEqual(compiled(tf.constant(3.0)), 6.0)
        compiled(tf.constant(4.0))
        self.assertEqual(seen, [False])


if __name__ == "__main__":
    tf.test.main()
