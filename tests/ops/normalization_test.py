"""Tests of batch_norm on inputs of special forms, by whichever implementation serves.

Any rank, axis and mask have the property tests of the layers; exactness_test has the
accuracy on difficult data, second_derivatives_test those.
"""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops

EPSILON = 1e-3
# float32 against float64: what tfbn promises.
EXACT = 2e-6
# Large enough for the kernels: 2**16 elements.
LARGE = (128, 512)


def training(mode="eager", axis=-1, correction=None, **options):
    """`(x, gamma, beta), upstream -> y, (statistics,), gradients` of batch_norm."""

    def call(x, gamma, beta):
        return ops.batch_norm(
            x,
            gamma,
            beta,
            axis=axis % len(x.shape),
            epsilon=EPSILON,
            correction=correction,
            **options,
        )

    return testing_utils.value_and_gradients(call, mode)


class Case:
    """Data for a training call with `shape`, and what is to come of it.

    Args:
        groups: int, the number of virtual batches.
        masked: bool, make a `mask` (of the rank of `x`, 1 for the channels).
    """

    def __init__(self, shape, axis=-1, dtype="float32", groups=1, masked=False, seed=0):
        rng = np.random.default_rng(seed)
        self.shape, self.axis, self.dtype = shape, axis, dtype
        channels = shape[axis]
        self.x = testing_utils.random_batch(rng, shape, axis, dtype=dtype)
        self.gamma, self.beta = rng.uniform(0.5, 2.0, size=(2, channels)).astype(dtype)
        self.upstream = rng.normal(size=shape).astype(dtype)
        self.mask = keep = None
        if masked:
            sizes = np.array(shape)
            sizes[axis] = 1
            self.mask = rng.uniform(size=sizes) < 0.6
            self.mask[-1] = True  # never nothing
            keep = np.broadcast_to(self.mask, shape)
            keep = testing_utils.channels_last(keep, axis)[:, 0] > 0.0
        self.reference = testing_utils.VirtualBatches(
            testing_utils.channels_last(self.x, axis),
            groups,
            EPSILON,
            self.gamma.astype("float64"),
            self.beta.astype("float64"),
            keep,
        )

    @property
    def arguments(self):
        return [tf.constant(a) for a in (self.x, self.gamma, self.beta)]

    def results(self, call):
        """Of `training`: y, the statistics and the gradients, as one list."""
        y, (statistics,), gradients = call(self.arguments, tf.constant(self.upstream))
        return [y, statistics.mean, statistics.spread, statistics.scale, *gradients]

    def expected(self):
        reference, like = self.reference, testing_utils.like
        upstream = testing_utils.channels_last(self.upstream, self.axis)
        dx, *rest = reference.gradients(upstream)
        return [
            like(reference.output, self.shape, self.axis),
            reference.mean,
            reference.variance,
            reference.sigma,
            like(dx, self.shape, self.axis),
            *rest,
        ]


class CaseTestCase(tf.test.TestCase, parameterized.TestCase):
    def assert_results(self, actual, expected, tolerance=EXACT):
        names = "y", "mean", "variance", "scale", "dx", "dgamma", "dbeta"
        for name, value, wanted in zip(names, actual, expected, strict=True):
            error = np.max(np.abs(value - wanted))
            largest = np.max(np.abs(wanted))
            self.assertLess(error, tolerance * (largest or 1.0), name)

    def assert_case(self, case, call):
        # Of float64: some hundred roundings of 1e-16.
        tolerance = 1e-13 if case.dtype == "float64" else EXACT
        self.assert_results(case.results(call), case.expected(), tolerance)


class FormsTest(CaseTestCase):
    @parameterized.parameters(
        ((1, 5, 1), -1), ((6, 1, 1), -1), ((1, 1, 1), -1), ((6, 1, 5), 1)
    )
    def test_a_mask_is_broadcast(self, mask_shape, axis):
        case = Case((6, 5, 3) if axis == -1 else (6, 3, 5), axis)
        mask = np.random.default_rng(3).uniform(size=mask_shape) < 0.5
        mask[(0,) * 3] = True
        results = [
            case.results(training(axis=axis, mask=m))
            for m in (
                mask,
                np.broadcast_to(mask, [1 if s == 3 else s for s in case.shape]),
            )
        ]
        for a, b in zip(*results, strict=True):
            self.assertAllEqual(a, b)

    @parameterized.parameters(
        ("graph", [None, 4], -1, (6, 4), (9, 4)),
        ("graph", [None, None, None, 4], -1, (2, 3, 4, 4), (3, 2, 5, 4)),
        ("graph", [None, 4, None], 1, (2, 4, 5), (3, 4, 2)),
        ("xla", [None, None, None, 4], -1, (2, 3, 4, 4)),
    )
    def test_sizes_that_are_not_known(self, mode, signature, axis, *shapes):
        call, traces = self.with_signature(signature, axis, mode)
        for shape in shapes:
            self.assert_case(Case(shape, axis), call)
        self.assertLen(traces, 1)

    def test_masks_of_sizes_that_are_not_known(self):
        call, traces = self.with_signature([None, None, 3], -1, "graph", masked=True)
        for shape in ((6, 5, 3), (4, 7, 3)):
            case = Case(shape, masked=True)
            mask = tf.constant(case.mask)
            self.assert_case(case, lambda *args, mask=mask: call(*args, mask))
        self.assertLen(traces, 1)

    def with_signature(self, shape, axis, mode, masked=False):
        vector = tf.TensorSpec([shape[axis]])
        x = tf.TensorSpec(shape)
        mask_shape = [*shape]
        mask_shape[axis] = 1
        masks = [tf.TensorSpec(mask_shape, tf.bool)] if masked else []
        return testing_utils.count_traces(
            lambda arguments, upstream, mask=None: training(axis=axis, mask=mask)(
                arguments, upstream
            ),
            input_signature=[[x, vector, vector], x, *masks],
            jit_compile=mode == "xla",
        )

    @parameterized.product(
        shape=((0, 4), (2, 0, 4)),
        path=("kernels", "formula", "mask", "xla"),
    )
    def test_an_empty_batch(self, shape, path):
        mask = tf.ones([*shape[:-1], 1], "bool") if path == "mask" else None
        known = path != "kernels"
        x = tf.TensorSpec(shape if known else [None] * len(shape[1:]) + [4])
        vector = tf.TensorSpec([4])
        call = tf.function(
            training(mask=mask),
            input_signature=[[x, vector, vector], x],
            jit_compile=path == "xla",
        )
        arguments = [tf.zeros(shape), tf.ones(4), tf.zeros(4)]
        y, (statistics,), gradients = call(arguments, tf.zeros(shape))
        self.assertEqual(y.shape, shape)
        self.assertFalse(statistics.valid)
        for gradient, argument in zip(gradients, arguments, strict=True):
            self.assertAllEqual(gradient, tf.zeros_like(argument))

    @parameterized.parameters((np.nan, "eager"), (np.inf, "graph"), (-np.inf, "xla"))
    def test_what_is_masked_may_be_non_finite(self, bad, mode):
        """If no gradient comes to it, its own is 0 and the others' are not spoilt."""
        case = Case((6, 5, 3), masked=True)
        case.upstream *= case.mask
        expected = case.expected()
        case.x = np.where(case.mask, case.x, np.float32(bad))
        results = case.results(training(mode, mask=case.mask))
        results[0] = tf.where(case.mask, results[0], expected[0])
        self.assert_results(results, expected)

    @parameterized.product(
        scale=(True, False), center=(True, False), large=(True, False)
    )
    def test_without_gamma_or_beta(self, scale, center, large):
        x = tf.constant(Case(LARGE if large else (6, 4)).x)
        ones, zeros = tf.ones(x.shape[-1]), tf.zeros(x.shape[-1])
        y, _ = ops.batch_norm(
            x,
            ones if scale else None,
            zeros if center else None,
            axis=1,
            epsilon=EPSILON,
        )
        expected, _ = ops.batch_norm(x, ones, zeros, axis=1, epsilon=EPSILON)
        self.assertAllEqual(y, expected)

    @parameterized.parameters(LARGE, (6, 4))
    def test_no_gradient_flows_through_the_statistics(self, *shape):
        x = tf.constant(Case(shape).x)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            _, statistics = ops.batch_norm(x, None, None, axis=1, epsilon=EPSILON)
        for value in statistics[:-1]:
            self.assertIsNone(tape.gradient(value, x))


class VirtualBatchesTest(CaseTestCase):
    """Each group alone, as `testing_utils.VirtualBatches` has it."""

    @parameterized.parameters("graph", "xla")
    def test_a_number_of_samples_that_is_not_known(self, mode):
        x, vector = tf.TensorSpec([None, None, 4]), tf.TensorSpec([4])
        call = tf.function(
            training(virtual_batch_size=2),
            input_signature=[[x, vector, vector], x],
            jit_compile=mode == "xla",
        )
        for groups in (1, 3):
            self.assert_case(Case((2 * groups, 5, 4), groups=groups), call)
        y, (statistics,), (dx, dgamma, _) = call(
            [tf.zeros([0, 5, 4]), tf.ones(4), tf.zeros(4)], tf.zeros([0, 5, 4])
        )
        self.assertEqual(y.shape, (0, 5, 4))
        self.assertFalse(statistics.valid)
        self.assertEqual(dx.shape, (0, 5, 4))
        self.assertAllEqual(dgamma, np.zeros(4))

    @parameterized.parameters(*testing_utils.MODES)
    def test_groups_of_very_different_data(self, mode):
        case = Case((8, 50, 3), groups=4)
        offsets = np.repeat([0.0, 1e6, -1e4, 5.0], 2).reshape(8, 1, 1)
        case.x = (case.x + offsets).astype("float32")
        reference = testing_utils.VirtualBatches(
            testing_utils.channels_last(case.x), 4, EPSILON, case.gamma, case.beta
        )
        case.reference = reference
        self.assert_case(case, training(mode, virtual_batch_size=2))

    @parameterized.parameters((False, "xla"), (True, "eager"), (True, "graph"))
    def test_renorm_corrects_each_group_from_the_same_averages(self, masked, mode):
        case = Case((6, 5, 3), groups=3, masked=masked)
        mean, stddev = np.array([[0.3, -0.2, 0.7], [1.2, 0.7, 5.0]], "float32")
        case.reference.correct(mean, stddev, 1.1, 0.3)
        clipped = np.unique([group.r for group in case.reference.groups])
        self.assertGreater(len(clipped), 2)  # some at both bounds, some between

        def correction(statistics):
            return ops.renorm_correction(
                statistics, mean, stddev, rmax=1.1, dmax=0.3, stddev_floor=0.0
            )

        options = {"mask": case.mask, "virtual_batch_size": 2}
        self.assert_case(case, training(mode, correction=correction, **options))


class AveragesTest(tf.test.TestCase, parameterized.TestCase):
    """`averages` and `update`, by hand: the batch has mean 2 and variance 1."""

    @parameterized.parameters("eager", "graph", "xla")
    def test_the_update_follows_the_correction(self, mode):
        def correction(statistics, averages):
            return tf.ones_like(statistics.mean), averages["shift"]

        def update(averages, statistics):
            averages["shift"] += statistics.mean
            averages["calls"] += 1

        def call(x):
            averages = {"shift": tf.constant([10.0]), "calls": tf.constant(0)}
            y, statistics = ops.batch_norm(
                x,
                None,
                None,
                axis=1,
                epsilon=3.0,
                correction=correction,
                averages=averages,
                update=update,
            )
            self.assertIsNone(statistics)
            return y, averages

        if mode != "eager":
            call = tf.function(call, jit_compile=mode == "xla")
        y, averages = call(tf.constant([[1.0], [3.0]]))
        self.assertAllEqual(y, [[9.5], [10.5]])
        self.assertAllEqual(averages["shift"], [12.0])
        self.assertAllEqual(averages["calls"], 1)


class ValidTest(tf.test.TestCase, parameterized.TestCase):
    """Of `statistics.valid`: whether the averages may have the statistics."""

    @parameterized.parameters(
        (float("nan"), None), (float("inf"), 1), (float("-inf"), None)
    )
    def test_a_non_finite_element(self, bad, virtual_batch_size):
        """On each path; and of the norms."""
        x = tf.constant([[1.0, bad], [2.0, 3.0]])
        options = {
            "axis": 1,
            "epsilon": EPSILON,
            "virtual_batch_size": virtual_batch_size,
        }

        def valid(x):
            return ops.batch_norm(x, None, None, **options)[1].valid

        unknown_size = {"input_signature": [tf.TensorSpec([None, 2])]}
        for kind in ({"jit_compile": True}, unknown_size):
            self.assertFalse(tf.function(valid, **kind)(x))
        self.assertFalse(valid(x))
        for order in (1, 2, "inf"):
            _, statistics = ops.lp_batch_norm(x, None, None, order=order, **options)
            self.assertFalse(statistics.valid)

    def test_a_variance_that_overflows(self):
        for x in ([[-1e20], [1e20]], [[0.0], [3e38]]):
            _, statistics = ops.batch_norm(
                tf.constant(x), None, None, axis=1, epsilon=EPSILON
            )
            self.assertFalse(statistics.valid)


if __name__ == "__main__":
    tf.test.main()
