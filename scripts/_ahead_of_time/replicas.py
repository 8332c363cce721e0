"""Programs of several replicas, as XLA compiles them for a TPU."""

from unittest import mock

import tensorflow as tf

# No public name of TensorFlow makes these operations outside a TPU.
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from tfbn.ops import requests

NUMBER = 4


class _Replica:
    """What the operations use of a `tf.distribute.ReplicaContext`, by XLA's own."""

    num_replicas_in_sync = NUMBER

    @property
    def replica_id_in_sync_group(self):
        return gen_xla_ops.xla_replica_id()

    def all_reduce(self, reduce_op, value):
        assert reduce_op == tf.distribute.ReduceOp.SUM

        # As for tf.distribute's: TensorFlow has no gradient of XLA's.
        @tf.custom_gradient
        def call(value):
            groups = tf.constant([[*range(NUMBER)]])
            total = gen_xla_ops.xla_all_reduce(value, groups, "Add", "CrossReplica")
            return total, lambda upstream: self.all_reduce(reduce_op, upstream)

        return call(value)


def replicated(function):
    """The function, whose layers share statistics with the other replicas."""

    def call(*arguments):
        with mock.patch.object(requests, "replica_context", _Replica):
            return function(*arguments)

    return call


def all_reduce(gradients):
    """The gradients summed over the replicas, in one message as a strategy does."""
    sizes = [gradient.shape.num_elements() for gradient in gradients]
    row = tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)
    total = _Replica().all_reduce(tf.distribute.ReduceOp.SUM, row)
    return [
        tf.reshape(part, gradient.shape)
        for part, gradient in zip(tf.split(total, sizes), gradients, strict=True)
    ]
