"""Tests of requests: what they find out about a call."""

import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops
from tfbn.ops import requests


def request(x=None, **options):
    return requests.request(
        "batch_norm", tf.zeros([2, 3]) if x is None else x, 1, **options
    )


def in_graph(wrap=lambda f: f(), **options):
    """The request of a call that `wrap` makes in a `tf.function(**options)`."""
    found = []

    @tf.function(**options)
    def call(x):
        wrap(lambda: found.append(request(x)))
        return x

    call(tf.zeros([2, 3]))
    return found.pop()


class RequestTest(tf.test.TestCase, parameterized.TestCase):
    def test_sizes(self):
        signature = [tf.TensorSpec([None, 4, 3], "bfloat16")]
        found = []
        tf.function(
            lambda x: found.extend(
                requests.request("normalize", x, axis) for axis in (0, 2)
            ),
            input_signature=signature,
        )(tf.zeros([2, 4, 3], "bfloat16"))
        first, last = found
        self.assertEqual((first.dtype, first.shape), (tf.bfloat16, (None, 4, 3)))
        self.assertEqual((first.channels, first.num_rows), (None, 12))
        self.assertEqual((last.channels, last.num_rows), (3, None))

    def test_options(self):
        plain = request()
        self.assertEqual((plain.masked, plain.virtual_batch_size), (False, None))
        other = request(mask=tf.ones([2, 1], "bool"), virtual_batch_size=2)
        self.assertEqual((other.masked, other.virtual_batch_size), (True, 2))

    @parameterized.named_parameters(
        ("itself", lambda f: f()),
        ("function", lambda f: tf.function(f)()),
        ("branch", lambda f: tf.cond(tf.constant(True), f, lambda: None)),
        ("loop", lambda f: tf.while_loop(lambda i: i < 1, lambda i: f() or i + 1, [0])),
    )
    def test_compiled(self, wrap):
        self.assertTrue(in_graph(wrap, jit_compile=True).compiled)
        self.assertFalse(in_graph(wrap).compiled)
        self.assertFalse(request().compiled)

    @parameterized.parameters(True, False)
    def test_replicas(self, synchronized):
        found = []
        strategy = testing_utils.two_cpus_strategy()
        strategy.run(lambda: found.append(request(synchronized=synchronized)))
        self.assertEqual([r.replicated for r in found], [synchronized] * 2)
        self.assertFalse(request(synchronized=synchronized).replicated)
        with tf.distribute.OneDeviceStrategy("CPU:0").scope():
            self.assertFalse(request(synchronized=synchronized).replicated)

    def test_derivatives(self):
        x = tf.zeros([2, 3])
        with tf.autodiff.ForwardAccumulator(x, x):
            forward = request(x)
            self.assertEqual(request().derivative, "none")
            of_weight = request(weights=(None, x))
            self.assertEqual(of_weight.derivative, "forward")
        self.assertEqual(forward.derivative, "forward")
        with tf.GradientTape() as tape:
            tape.watch(x)
            self.assertEqual(forward.of_gradient([2.0 * x]).derivative, "recorded")
        self.assertEqual(forward.of_gradient([x]).derivative, "none")


class TargetTest(tf.test.TestCase, parameterized.TestCase):
    """Where TensorFlow computes: as pinned, else on the first GPU, if there is one."""

    @parameterized.product(in_function=(True, False), has_gpu=(True, False))
    def test_pinned_or_not(self, in_function, has_gpu):
        kinds = {None: "gpu" if has_gpu else "cpu", "CPU:1": "cpu", "GPU:0": "gpu"}

        def found():
            targets = {}
            for device in kinds:
                with tf.device(device):
                    targets[device] = request().target
            return targets

        with testing_utils.accelerator("GPU" if has_gpu else None):
            targets = in_graph_value(found) if in_function else found()
        self.assertEqual(targets, kinds)

    def test_a_scope_around_a_function_is_not_seen(self):
        """TensorFlow uses one trace under all devices."""
        with testing_utils.accelerator("GPU"), tf.device("CPU:0"):
            self.assertEqual(in_graph().target, "gpu")

    def test_tpu_cores(self):
        with tf.Graph().as_default(), tf.device("/device:TPU_REPLICATED_CORE:0"):
            self.assertEqual(request().target, "tpu")

    @parameterized.parameters(*requests.TARGETS)
    def test_compiling_for(self, target):
        with ops.compiling_for(target):
            for found in (request(), in_graph()):
                self.assertEqual((found.target, found.compiled), (target, True))
            with ops.compiling_for("cpu"):
                self.assertEqual(request().target, "cpu")
            self.assertEqual(request().target, target)
        self.assertFalse(request().compiled)

    def test_compiling_for_something_else(self):
        with self.assertRaisesRegex(ValueError, "target must be one of 'cpu'.*'cuda'"):
            with ops.compiling_for("cuda"):
                pass


def in_graph_value(function):
    """What a Python function returns while a graph is traced."""
    found = []
    tf.function(lambda: found.append(function()))()
    return found.pop()


if __name__ == "__main__":
    tf.test.main()
