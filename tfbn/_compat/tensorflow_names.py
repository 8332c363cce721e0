"""Private and version-bound names of TensorFlow: graphs, derivatives, kernels."""

import contextlib
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from tfbn._compat.lookup import missing
from tfbn._compat.lookup import of_tensorflow


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
        raise missing(f"Session.{name}", "TensorFlow", tf.__version__)
    options = of_tensorflow("tensorflow.core.protobuf.config_pb2", "CallableOptions")
    return lambda fetches, feeds: make(options(fetch=fetches, feed=feeds))


def in_xla_context() -> bool:
    """Whether XLA will compile the code that is being traced."""
    if tf.executing_eagerly():
        return False
    in_context = of_tensorflow(
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
        context = of_tensorflow("tensorflow.python.eager.context", "context")
        return context().device_name or ""
    return tf.no_op().device


def has_tangent(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether a `tf.autodiff.ForwardAccumulator` watches any of the tensors."""
    pack = of_tensorflow("tensorflow.python.eager.forwardprop_util", "pack_tangents")
    return bool(pack(tensors).tangents)


def is_recorded(tensors: Sequence[tf.Tensor]) -> bool:
    """Whether an open `tf.GradientTape` records operations on any of the tensors."""
    should_record = of_tensorflow(
        "tensorflow.python.eager.record", "should_record_backprop"
    )
    return bool(should_record(tensors))


def stop_recording() -> AbstractContextManager[None]:
    """While open, no `tf.GradientTape` records operations."""
    return of_tensorflow("tensorflow.python.eager.record", "stop_recording")()


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
    is_enabled = of_tensorflow(
        "tensorflow.python.util._pywrap_util_port", "IsMklEnabled"
    )
    return bool(is_enabled())


def summary_metadata(plugin: str, data_class: int) -> Any:
    """The metadata by which TensorBoard assigns a summary to a plugin."""
    metadata = tf.compat.v1.SummaryMetadata
    return metadata(
        plugin_data=metadata.PluginData(plugin_name=plugin), data_class=data_class
    )
