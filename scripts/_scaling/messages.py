"""What the replicas of a training step send each other: counted, and by formula."""

import math

import tensorflow as tf

_TYPES = ("CollectiveReduceV2", "CollectiveGatherV2", "CollectiveAllToAllV2")


def counted(concrete_function, num_local_replicas):
    """Counts the collective operations in a function's graph.

    Args:
        concrete_function: the graph of a loop over training steps, whose body stands in
            it once.
        num_local_replicas: int, how many replicas this process computes.

    Returns:
        `(number, bytes)` for one replica and step. The bytes are those of the operands,
        each of them once.
    """
    graph = concrete_function.graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    found = [node for node in nodes if node.op in _TYPES]
    total = sum(map(_size, found))
    return len(found) / num_local_replicas, total / num_local_replicas


def expected(model, num_replicas):
    """`(number, bytes)` by the formula of docs/distributed.md.

    A synchronized layer sends a table forward and two sums backward; all gradients, and
    the loss, travel in a message each.
    """
    if num_replicas == 1:
        return 0, 0
    channels = [
        layer.moving_mean.shape[-1]
        for layer in model.layers
        if getattr(layer, "synchronized", False)
    ]
    tables = sum(4 * num_replicas * (3 * c + 1) for c in channels)
    sums = sum(8 * c for c in channels)
    gradients = sum(4 * math.prod(v.shape) for v in model.trainable_variables)
    return 2 * len(channels) + 2, tables + sums + gradients + 4


def _size(node):
    shape = tf.TensorShape(node.attr["_output_shapes"].list.shape[0])
    return shape.num_elements() * tf.as_dtype(node.attr["T"].type).size
