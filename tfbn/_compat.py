"""Every private or version-bound name of its dependencies that tfbn uses.

One function per name. A name is looked up when its function is first called: a version
that has moved it breaks only what needs it, with an error that says so.
tests/compat_test.py checks what each function does.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def current_graph() -> tf.Graph:
    """The graph that receives new operations."""
    return tf.compat.v1.get_default_graph()


def parts_of_graph(graph: tf.Graph) -> Callable[[list[str], list[str]], Callable]:
    """A function `(fetches, feeds)` of names of tensors, which makes functions.

    Each is of the values of the feeds, arrays of their dtypes, returns a list of arrays
    for the fetches, and runs only what lies between. `tf.function` has no such choice
    after a trace. The graph is not rewritten by Grappler, which would take longer than
    to run a part; and `Session.make_callable` takes as long for its checks of each feed
    as a small part does to run.
    """
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    session = tf.compat.v1.Session(graph=graph, config=config)
    name = "_make_callable_from_options"
    make = getattr(session, name, None)
    if make is None:
        raise _missing(f"Session.{name}", "TensorFlow", tf.__version__)
    options = _tensorflow("tensorflow.core.protobuf.config_pb2", "CallableOptions")
    return lambda fetches, feeds: make(options(fetch=fetches, feed=feeds))


def in_xla_context() -> bool:
    """Whether XLA will compile the code that is being traced."""
    if tf.executing_eagerly():
        return False
    in_context = _tensorflow(
        "tensorflow.python.ops.control_flow_util", "GraphOrParentsInXlaContext"
    )
    return in_context(current_graph())


def is_exporting() -> bool:
    """Whether the graph that is being traced is that of a SavedModel.

    TensorFlow Lite's converter makes one of a Keras model too. These functions trace
    it, and leave no other sign that they do.
    """
    return not tf.executing_eagerly() and any(
        (frame.f_globals.get("__name__"), frame.f_code.co_name) in _EXPORTS
        for frame in _frames()
    )


def _frames():
    """The frames of the call stack, inner ones first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


_EXPORTS = frozenset(
    {
        ("keras.src.export.saved_model_export_archive", "write_out"),
        ("keras.src.export.saved_model_export_archive", "add_endpoint"),
        ("tensorflow.python.saved_model.save", "save_and_return_nodes"),
    }
)


def recomputation() -> str | None:
    """Whether a function of `tf.recompute_grad` runs: "first", "again" or not (None).

    "again" is the run for the gradient. `keras.RematScope` uses it too.
    """
    for frame in _frames():
        found = _RECOMPUTATIONS.get(frame.f_code.co_qualname)
        if found is not None:
            return found
    return None


_RECOMPUTATIONS = {
    "recompute_grad.<locals>.inner": "first",
    "recompute_grad.<locals>.inner.<locals>.grad_wrapper"
    ".<locals>.inner_recompute_grad": "again",
}


def device_scope() -> str:
    """The device that new operations are pinned to, or "" if there is none.

    A function being traced sees the scopes inside it, not those around its call:
    TensorFlow reuses one trace for calls under any device.
    """
    if tf.executing_eagerly():
        context = _tensorflow("tensorflow.python.eager.context", "context")
        return context().device_name or ""
    return tf.no_op().device


def has_tangent(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether a `tf.autodiff.ForwardAccumulator` watches any of the tensors."""
    pack = _tensorflow("tensorflow.python.eager.forwardprop_util", "pack_tangents")
    return bool(pack(tensors).tangents)


def is_recorded(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether an open `tf.GradientTape` records operations on any of the tensors."""
    should_record = _tensorflow(
        "tensorflow.python.eager.record", "should_record_backprop"
    )
    return bool(should_record(tensors))


@contextlib.contextmanager
def twice_differentiable_moments() -> Iterator[None]:
    """Gives `tf.nn.moments` a correct second derivative while open.

    TensorFlow treats the mean inside the variance as a constant. The first derivative
    is unaffected; second derivatives through Keras's normalization layers are wrong.
    """
    original = tf.nn.moments

    def moments(x, axes, shift=None, keepdims=False, name=None):
        mean, _ = original(x, axes, shift=shift, keepdims=True, name=name)
        variance = tf.reduce_mean(
            tf.math.squared_difference(x, mean), axes, keepdims=True
        )
        if keepdims:
            return mean, variance
        return tf.squeeze(mean, axes), tf.squeeze(variance, axes)

    tf.nn.moments = moments
    try:
        yield
    finally:
        tf.nn.moments = original


def onednn_enabled() -> bool:
    """Whether this TensorFlow uses oneDNN's kernels."""
    is_enabled = _tensorflow("tensorflow.python.util._pywrap_util_port", "IsMklEnabled")
    return bool(is_enabled())


def summary_metadata(plugin: str, data_class: int) -> Any:
    """The metadata by which TensorBoard assigns a summary to a plugin."""
    metadata = tf.compat.v1.SummaryMetadata
    return metadata(
        plugin_data=metadata.PluginData(plugin_name=plugin), data_class=data_class
    )


def flatten_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers inside a model or layer at any depth, each once, outer ones first.

    `model.layers` omits the layers inside custom layers.
    """
    flatten = _keras(model, "_flatten_layers")
    return list(flatten(include_self=False, recursive=True))


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that a layer holds itself, in the order in which it received them."""
    flatten = _keras(layer, "_flatten_layers")
    return list(flatten(include_self=False, recursive=False))


def replace_sublayer(
    owner: keras.layers.Layer, old: keras.layers.Layer, new: keras.layers.Layer
) -> None:
    """Makes `owner` track one layer in place of another, not beside it.

    Setting an attribute anew would leave the old layer among the sublayers.
    """
    replace = _keras(_keras(owner, "_tracker"), "replace_tracked_value")
    replace("layers", old, new)


def run_through_graph(
    model: keras.Model, inputs: Any, operation_of: Callable[[Any], Callable]
) -> Any:
    """The outputs of a functional model's graph with other operations in it.

    Each call is made with the arguments of the graph. `keras.models.clone_model` does
    the same, but also compiles the result.
    """
    return _keras(model, "_run_through_graph")(inputs, operation_fn=operation_of)


def copy_of_lambda(layer: keras.layers.Lambda) -> keras.layers.Lambda:
    """A `Lambda` of the same Python function, which its config only has as bytecode."""
    return type(layer)(
        layer.function,
        output_shape=_keras(layer, "_output_shape"),
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )


def call_has_training_arg(model: keras.Model) -> bool:
    """Whether `fit` calls the model in training mode."""
    return bool(_keras(model, "_call_has_training_arg"))


def compile_loss(model: keras.Model) -> Any:
    """The object that `model.compile` made of its loss, or None."""
    return _keras(model, "_compile_loss")


def copy_compile_loss(compiled: Any) -> Any:
    """A `compile_loss` of the same losses and weights, with metrics of its own."""
    return type(compiled)(
        _keras(compiled, "_user_loss"),
        _keras(compiled, "_user_loss_weights"),
        output_names=_keras(compiled, "output_names"),
    )


def stored_beside(
    store: Any, name: str, classes: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """The variables that a weights file has for a layer, but under another class.

    Args:
        store: what Keras hands to `load_own_variables`, of a `.weights.h5` or `.keras`
            file: the variables that it found under the class of the layer.
        name: str, the layer's name.
        classes: the names of classes, in snake case, that the file may have it under.
            Its own counts if `store` is empty, as Keras then has miscounted.

    Returns:
        The arrays by their keys, or None without such a layer in the same container.
    """
    file = getattr(store, "h5_file", None)
    if file is None:  # a dict
        return None
    container, _, entry = _keras(store, "_h5_entry_path").rpartition("/")
    if not container or container not in file:
        return None
    for other in file[container]:
        kind = re.sub(r"_\d+$", "", other)
        if kind not in classes or (len(store) and kind == re.sub(r"_\d+$", "", entry)):
            continue
        path = f"{container}/{other}"
        if file.get(f"{path}/vars") and file[f"{path}/vars"].attrs.get("name") == name:
            return _entry(store, path)
    return None


def _entry(store, path):
    """The variables at another path of the file, read by Keras with its checks."""
    before = _keras(store, "_h5_entry_path")
    try:
        entry = store.get(path)
        return {key: entry[key] for key in entry.keys()}
    finally:
        store.get(before)


@contextlib.contextmanager
def summed_gradients(optimizer: keras.Optimizer) -> Iterator[None]:
    """Has `optimizer.apply` on a replica take gradients that are summed already.

    Keras sums them over the replicas itself, after it has clipped those of each.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    _keras(optimizer, "_all_reduce_sum_gradients")
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
    before = {name: _keras(module, name) for name in names}
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
    mode = _tensorflow(module, "_get_default_replica_mode")()
    pop = _tensorflow(module, "_pop_per_thread_mode")
    _tensorflow(module, "_push_per_thread_mode")(mode)
    try:
        with tf.variable_creator_scope(_variable_of_no_strategy):
            yield
    finally:
        pop()


def _variable_of_no_strategy(next_creator, **kwargs):
    del next_creator  # that of the scope
    module = "tensorflow.python.ops.resource_variable_ops"
    return _tensorflow(module, "default_variable_creator_v2")(**kwargs)


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
    context = _tensorflow("tensorflow.python.eager.context", "context")()
    leader = _tensorflow(
        "tensorflow.python.distribute.multi_worker_util", "coordination_leader"
    )
    job = _tensorflow(_COORDINATION, "CoordinatedJob")
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


def keras_mask(tensor: Any) -> Any:
    """The mask that Keras's layers have computed for a tensor, or None."""
    module = importlib.import_module("keras.src.backend")
    return _keras(module, "get_keras_mask")(tensor)


def stop_aligning_ylabel(axis: Any) -> None:
    """Takes a panel out of the alignment of its figure's y labels.

    matplotlib aligns labels with those of a removed panel too, for as long as that is
    in memory, and fails.
    """
    try:
        aligned = axis.figure._align_label_groups["y"]
    except (AttributeError, KeyError) as error:
        version = importlib.metadata.version("matplotlib")
        where = "Figure._align_label_groups"
        raise _missing(where, "matplotlib", version) from error
    aligned.remove(axis)


@functools.cache
def _tensorflow(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _missing(f"{module}.{name}", "TensorFlow", tf.__version__) from error


def _keras(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        where = f"{type(owner).__name__}.{name}"
        raise _missing(where, "Keras", keras.__version__) from error


def _missing(name: str, package: str, version: str) -> ImportError:
    return ImportError(
        f"tfbn needs {name}, a private name that {package} {version} does not have. "
        f"Install a version of {package} that tfbn was tested with, or report this."
    )
