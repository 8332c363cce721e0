"""Tests of tfbn.diagnostics.graph_parts, on graphs small enough to name every part."""

import numpy as np
import tensorflow as tf

from tfbn.diagnostics.graph_parts import GraphParts


def _chain():
    """out = (x a + 1) b, with a of stage 0 and b of stage 1."""
    graph = tf.Graph()
    with graph.as_default():
        x, a, b = (
            tf.compat.v1.placeholder(tf.float32, [], name=name) for name in "xab"
        )
        product = tf.multiply(x, a, name="product")
        shifted = tf.add(product, 1.0, name="shifted")
        tf.multiply(shifted, b, name="out")
    return GraphParts(graph, {"x:0": -1, "a:0": 0, "b:0": 1})


class GraphPartsTest(tf.test.TestCase):
    def test_what_is_settled_is_where_a_computation_begins(self):
        parts = _chain()
        need = parts.need(["out:0"], 1, known=())
        self.assertEqual(need, (["shifted:0"], ["b:0"]))
        # Before, nothing of it was.
        need = parts.need(["out:0"], 0, known=())
        self.assertEqual((need.settled, set(need.inputs)), ([], {"a:0", "b:0", "x:0"}))

    def test_what_is_known_is_not_computed(self):
        parts = _chain()
        need = parts.need(["out:0"], -1, known={"product:0"})
        self.assertEqual(need, (["product:0"], ["b:0"]))

    def test_runs_no_more_than_asked_for(self):
        parts = _chain()
        # The product is of no influence where its successor is given.
        out = parts.function(["out:0"], ["shifted:0", "b:0"])
        self.assertEqual(out(*np.float32([3.0, 5.0])), [15.0])
        shifted = parts.function(["shifted:0"], ["x:0", "a:0"])
        self.assertEqual(shifted(*np.float32([2.0, 4.0])), [9.0])

    def test_what_is_asked_for_is_computed_even_if_it_is_settled(self):
        need = _chain().need(["shifted:0"], 1, known=())
        self.assertEqual(need, (["product:0"], []))

    def test_constants_and_handles_are_not_passed_on(self):
        graph = tf.Graph()
        scalar = []
        with graph.as_default():
            a = tf.compat.v1.placeholder(tf.float32, [1], name="a")
            b = tf.compat.v1.placeholder(tf.float32, [], name="b")
            tensors = tf.raw_ops.TensorListFromTensor(
                tensor=a, element_shape=tf.constant(scalar, tf.int32), name="list"
            )
            first = tf.raw_ops.TensorListGetItem(
                input_handle=tensors,
                index=0,
                element_shape=tf.constant(scalar, tf.int32),
                element_dtype=tf.float32,
                name="first",
            )
            with tf.control_dependencies([b]):
                tf.identity(first, name="out")
        parts = GraphParts(graph, {"a:0": 0, "b:0": 1})
        need = parts.need(["out:0"], 1, known=())
        self.assertEqual((need.settled, need.inputs), (["first:0"], ["b:0"]))
        # The list itself is made anew, of what it is made of.
        need = parts.need(["first:0"], 1, known=())
        self.assertEqual((need.settled, need.inputs), ([], ["a:0"]))


if __name__ == "__main__":
    tf.test.main()
