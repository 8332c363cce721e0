"""Tests of tfbn.diagnostics.paired_gradients; its values: covariate_shift_test.py."""

import tensorflow as tf

from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn import models
from tfbn.diagnostics import paired_gradients
from tfbn.diagnostics._layer_groups import layer_groups


class PairedGradientsTest(tf.test.TestCase):
    def test_what_passes_share_is_computed_once(self):
        # Of k linear layers: k products forward for G, k - 1 of updated layers, and
        # k - i + 1 for each i from 2 on; backward k - 1, and k - i for each such i;
        # and of kernels' gradients 1 each for G and G'.
        k = 5
        model = models.deep_linear(depth=k, units=3)
        gradients = paired_gradients.PairedGradients(
            diagnostics.LossFunction(model, squared_error),
            layer_groups(model),
            kernels=False,
            jit_compile=False,
        )
        state, x = diagnostics.snapshot(model), tf.ones((4, 3))
        graph = tf.function(gradients._paired_gradients).get_concrete_function(
            state.parameters, [], state.parameters, x, x
        )
        num_products = sum(
            op.type in ("MatMul", "BatchMatMulV2")
            for op in graph.graph.get_operations()
        )
        suffixes = range(1, k)  # lengths k - i + 1
        forward = k + (k - 1) + sum(suffixes)
        backward = (k - 1) + sum(n - 1 for n in suffixes)
        self.assertEqual(num_products, forward + backward + k + (k - 1))


if __name__ == "__main__":
    tf.test.main()
