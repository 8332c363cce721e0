"""What TensorFlow's and Keras's distribution over replicas keeps to itself."""

import contextlib
import importlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfbn._compat.lookup import of_keras
from tfbn._compat.lookup import of_tensorflow


@contextlib.contextmanager
def summed_gradients(optimizer: keras.Optimizer) -> Iterator[None]:
    """Has `optimizer.apply` on a replica take gradients that are summed already.

    Keras sums them over the replicas itself, after it has clipped those of each.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    of_keras(optimizer, "_all_reduce_sum_gradients")
    # Not setattr: Keras would track the attribute.
    vars(optimizer)["_all_reduce_sum_gradients"] = list
    try:
        yield
    finally:
        del vars(optimizer)["_all_reduce_sum_gradients"]


@contextlib.contextmanager
def unscaled_losses() -> Iterator[None]:
    """Has a Keras loss on a replica be what it is without a strategy.

    Keras divides some by the number of replicas: those that it averages itself.
    """
    module = importlib.import_module("keras.src.losses.loss")
    names = ("scale_loss_for_distribution", "unscale_loss_for_distribution")
    before = {name: of_keras(module, name) for name in names}
    try:
        for name in names:
            setattr(module, name, _same)
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)


def _same(value):
    return value


@contextlib.contextmanager
def outside_strategy() -> Iterator[None]:
    """Leaves the scope of a `tf.distribute` strategy, if within one, for a while.

    Within a scope Keras divides losses by the number of replicas, although whoever
    called `fit` there has not started any.
    """
    if not tf.distribute.has_strategy():
        yield
        return
    module = "tensorflow.python.distribute.distribute_lib"
    mode = of_tensorflow(module, "_get_default_replica_mode")()
    pop = of_tensorflow(module, "_pop_per_thread_mode")
    of_tensorflow(module, "_push_per_thread_mode")(mode)
    try:
        with tf.variable_creator_scope(_variable_of_no_strategy):
            yield
    finally:
        pop()


def _variable_of_no_strategy(next_creator, **kwargs):
    del next_creator  # that of the scope
    module = "tensorflow.python.ops.resource_variable_ops"
    return of_tensorflow(module, "default_variable_creator_v2")(**kwargs)


@contextlib.contextmanager
def seeds_of_replicas() -> Iterator[None]:
    """Has each replica draw random numbers of its own in Keras's layers.

    All replicas have the same seed. It is combined with the number of the replica,
    unless the generator has a true attribute `same_on_replicas`.
    """
    generator = keras.random.SeedGenerator
    draw = generator.next

    def draw_on_replica(self, *args, **kwargs):
        seed = draw(self, *args, **kwargs)
        context = tf.distribute.get_replica_context()
        if context is None or getattr(self, "same_on_replicas", False):
            return seed
        return tf.random.experimental.stateless_fold_in(
            tf.cast(seed, tf.int32), context.replica_id_in_sync_group, alg="philox"
        )

    generator.next = draw_on_replica
    try:
        yield
    finally:
        generator.next = draw


def bound_waiting(
    cluster: dict[str, list[str]], *, start_seconds: float, lost_seconds: float
) -> None:
    """Has a `MultiWorkerMirroredStrategy` made later wait so long for its processes.

    Otherwise TensorFlow waits an hour for them to come, within a call that holds
    Python's lock: no signal and no thread ends it. Must be called before it starts.

    Args:
        cluster: the addresses of each job.
        start_seconds: for all to come.
        lost_seconds: without a sign of life; then a process is taken for lost.
    """
    context = of_tensorflow("tensorflow.python.eager.context", "context")()
    leader = of_tensorflow(
        "tensorflow.python.distribute.multi_worker_util", "coordination_leader"
    )
    job = of_tensorflow(_COORDINATION, "CoordinatedJob")
    context.configure_coordination_service(
        service_type="standalone",
        service_leader=leader(cluster),
        cluster_register_timeout_in_ms=round(1000 * start_seconds),
        heartbeat_timeout_in_ms=round(1000 * lost_seconds),
        coordinated_jobs=[
            job(name=name, num_tasks=len(cluster[name])) for name in sorted(cluster)
        ],
    )
    # The time is one for all to come, not for each to reach the first.
    context.coordination_service.cluster_register_with_barrier = True


_COORDINATION = "tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2"
