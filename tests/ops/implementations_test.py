"""Tests of the choice of an implementation, one request after the other."""

import dataclasses

import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import _compat
from tfbn import ops
from tfbn.ops import by_size
from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_sums
from tfbn.ops import formula
from tfbn.ops import implementations
from tfbn.ops import lp_formula
from tfbn.ops import one_pass
from tfbn.ops import wide_sums
from tfbn.ops.requests import Request

PLAIN = Request(
    "batch_norm", tf.float32, (128, 512), 1, target="cpu", compiled=False, onednn=True
)


def choose(**changes):
    return implementations.choose(dataclasses.replace(PLAIN, **changes))


class ChooseTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        {},
        {"operation": "normalize"},
        {"operation": "normalize", "shape": (8192, 9)},
        {"dtype": tf.bfloat16},
        {"dtype": tf.float16},
        {"shape": (4, 8, 8, 8, 32), "axis": 4},
        {"shape": (None, 8, 256), "axis": 2},  # of 32 samples, large enough
        {"shape": (None, None, None, 4), "axis": 3},
        {"shape": (4096, 17)},  # few enough rows for vectors that are not full
        {"shape": (8208, 8)},
        {"shape": (14 * 2053, 8)},  # 14 rows at a time
    )
    def test_cpu_kernels(self, **changes):
        self.assertIs(choose(**changes), cpu_kernels)

    @parameterized.parameters(
        {"shape": (None, None, 8), "axis": 2},
        {"shape": (None, 12)},
        {"shape": (None, 8, 252), "axis": 2},
        {"shape": (None, 9), "operation": "normalize"},
    )
    def test_by_size(self, **changes):
        self.assertIs(choose(**changes), by_size)

    @parameterized.parameters(
        {"shape": (127, 512)},
        {"shape": (7, 9)},
        {"shape": (None, 9)},  # the kernels are not exact, if it is large
        {"shape": (2, 3, 4), "axis": 2, "dtype": tf.float16},
        {"masked": True, "shape": (511, 512)},
        {"masked": True, "shape": (None, 31, 255), "axis": 2},
    )
    def test_wide_sums(self, **changes):
        self.assertIs(choose(**changes), wide_sums)

    @parameterized.parameters(
        {"dtype": tf.float64},
        {"axis": 0},
        {"replicated": True},
        {"virtual_batch_size": 64},
        {"compiled": True},
        {"derivative": "forward"},
        {"derivative": "recorded"},
        {"target": "gpu"},
        {"target": "tpu"},
        {"operation": "normalize", "shape": (127, 512)},  # too few elements
        {"shape": (8192, 9)},  # vectors that are not full
        {"shape": (8209, 8)},  # a prime number
        {"shape": (7 * 2053, 8)},  # 7 rows at a time
    )
    def test_formula(self, **changes):
        self.assertIs(choose(**changes), formula)

    @parameterized.parameters(
        ({}, cpu_sums),
        ({"dtype": tf.bfloat16, "shape": (None, 12)}, by_size),
        ({"operation": "normalize", "shape": (8192, 9)}, cpu_kernels),
        ({"target": "gpu"}, formula),
        ({"shape": (127, 512)}, wide_sums),
        ({"shape": (8209, 8)}, formula),
    )
    def test_without_onednn(self, changes, expected):
        self.assertIs(choose(onednn=False, **changes), expected)

    @parameterized.parameters(
        {"masked": True, "shape": (512, 512)},
        {"masked": True, "shape": (None, 32, 256), "axis": 2},
        {"masked": True, "shape": (None, None, 8), "axis": 2},
        {"masked": True, "axis": 0, "dtype": tf.float64},
        {"compiled": True, "target": "gpu"},
        {"compiled": True, "target": "tpu", "shape": (None, 9)},
    )
    def test_one_pass(self, **changes):
        self.assertIs(choose(**changes), one_pass)

    def test_lp_formula(self):
        self.assertIs(choose(operation="lp_batch_norm"), lp_formula)

    def test_preferring(self):
        with ops.preferring("cpu_kernels"):
            self.assertIs(choose(shape=(6, 4)), cpu_kernels)
            self.assertIs(choose(dtype=tf.float64), formula)
            with ops.preferring("formula"):
                self.assertIs(choose(), formula)
                self.assertIs(choose(operation="lp_batch_norm"), lp_formula)
        self.assertIs(choose(shape=(6, 4)), wide_sums)
        with self.assertRaisesRegex(ValueError, "name must be one of 'cpu_sums'"):
            with ops.preferring("gpu_kernels"):
                pass


class ServingTest(tf.test.TestCase, parameterized.TestCase):
    """That what is chosen serves: by the operations that a graph has."""

    def kernels(self, shape=(128, 512), wrap=lambda f, x: f(x), **options):
        def inference(x):
            return ops.normalize(x, *[tf.ones(shape[1])] * 2, None, None, axis=1)

        def training(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y, _ = ops.batch_norm(x, None, None, axis=1, epsilon=1.0)
            return y, tape.gradient(y, x)

        found = []
        for function in (inference, training):
            traced = tf.function(lambda x, f=function: wrap(f, x), **options)
            found.append(testing_utils.operations(traced, tf.zeros(shape)))
        forward, backward = "FusedBatchNormV3", "FusedBatchNormGradV3"
        if _compat.onednn_enabled():
            self.assertEqual(forward in found[1], backward in found[1])
        return [forward in operations for operations in found]

    def test_cpu_kernels(self):
        self.assertEqual(self.kernels(), [True, True])
        expected = "cpu_kernels" if _compat.onednn_enabled() else "cpu_sums"
        self.assertEqual(ops.serving_path(tf.zeros([128, 512]), 1), expected)

    def test_formula(self):
        self.assertEqual(self.kernels((4, 4)), [False, False])
        self.assertEqual(self.kernels(jit_compile=True), [False, False])
        path = ops.serving_path(tf.zeros([4, 4]), 1, virtual_batch_size=2)
        self.assertEqual(path, "formula")

    def test_devices(self):
        def pinned(function, x):
            with tf.device("CPU:0"):
                return function(x)

        with testing_utils.accelerator("GPU"):
            self.assertEqual(self.kernels(), [False, False])
            self.assertEqual(self.kernels(wrap=pinned), [True, True])


if __name__ == "__main__":
    tf.test.main()
