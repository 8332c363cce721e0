"""Functions that layers of one shape share: traced once, not once a layer.

A normalisation is some hundred operations, and tracing them takes most of the time of
a first training step. What has no sums over the batch is even shared by layers of all
shapes. Before it runs a graph, TensorFlow puts the operations of a function in the
place of each call. Eagerly, calling a function is faster than calling its operations.
"""

import contextlib
import contextvars
import dataclasses
import functools
import itertools
from collections.abc import Callable
from collections.abc import Iterator

import tensorflow as tf

from tfbn import _compat
from tfbn.ops import requests
from tfbn.ops.implementations import choose
from tfbn.ops.requests import Request
from tfbn.ops.training_step import TrainingStep

# To trace them takes as long as 20 to 50 eager calls of operations take longer than
# calls of functions. So inputs of ever new sizes are never traced.
EAGER_CALLS_BEFORE_TRACING = 40


def serve(request: Request) -> bool:
    """Whether a training call is made of shared functions.

    Of eager calls it counts those with an equal request.
    """
    return _sharing.get() and not (
        request.compiled  # XLA sees through them, and gains nothing
        or request.exported  # converters want operations
        or request.virtual_batch_size is not None
        or request.derivative != "none"
        or requests.replica_context() is not None  # each replica has a graph of its own
        or (tf.executing_eagerly() and not _is_worth_tracing(request))
    )


def _is_worth_tracing(request):
    """Whether an eager call is, counting those with an equal request."""
    if tf.config.functions_run_eagerly():
        return False
    recorded = dataclasses.replace(request, derivative="recorded")
    return (
        next(_calls(request)) >= EAGER_CALLS_BEFORE_TRACING
        # The tape of a second derivative would have to look inside the function.
        and not choose(request).supports(recorded)
    )


@functools.lru_cache(maxsize=256)
def _calls(request):
    del request  # the key of the cache
    return itertools.count()


@contextlib.contextmanager
def no_sharing() -> Iterator[None]:
    """Graphs traced while open consist of operations alone, to be taken apart."""
    token = _sharing.set(False)
    try:
        yield
    finally:
        _sharing.reset(token)


_sharing = contextvars.ContextVar("sharing", default=True)


@functools.lru_cache(maxsize=256)
def forward(step: TrainingStep, update: Callable | None) -> Callable:
    """`step.forward`, with the tensors that the normalizer saves in its place.

    It returns `(y, statistics, None, saved, r_and_d)`, and with an update of averages
    `(y, None, updated averages, saved, r_and_d)`: each result costs an operation.
    """
    step = dataclasses.replace(step, correction=_of_vectors(step.correction))
    updated = _of_vectors(update and _Updated(update))

    def run(x, weights, averages, mask):
        y, statistics, normalizer, r_and_d = step.forward(x, weights, averages, mask)
        saved = normalizer.saved, r_and_d
        if updated is None:
            return y, statistics, None, *saved
        return y, None, updated(averages, statistics), *saved

    return _Function(run)


@dataclasses.dataclass(frozen=True)
class _Updated:
    """An update of averages as a function that returns new ones."""

    update: Callable

    def __call__(self, averages, statistics):
        averages = dict(averages)
        self.update(averages, statistics)
        return averages


@functools.lru_cache(maxsize=256)
def backward(step: TrainingStep) -> Callable:
    """`step.backward`, after the mask, of the tensors that `forward` returns."""
    kind = step.implementation.Normalizer

    def run(mask, dy, weights, saved, r_and_d):
        normalizer = kind.of_saved(saved, dy, step.request, step.epsilon, mask)
        return step.backward(dy, weights, normalizer, r_and_d)

    return _Function(run)


class _Function:
    """A function of tensors, traced for the sizes that its request has.

    Eagerly it is called as a concrete function, which takes half the time. No tape sees
    that: one that watches an argument would have TensorFlow derive the function.
    """

    def __init__(self, function: Callable):
        self._traced = tf.function(function, autograph=False)
        self._concrete: dict[tuple, Callable] = {}

    def __call__(self, *tensors):
        if not tf.executing_eagerly():
            return self._traced(*tensors)
        with _compat.stop_recording():
            return self._of_kinds(tensors)(*tensors)

    def _of_kinds(self, tensors):
        kinds = tuple(_kind(tensor) for tensor in tf.nest.flatten(tensors))
        if kinds not in self._concrete:
            self._concrete[kinds] = self._traced.get_concrete_function(*tensors)
        return self._concrete[kinds]


def _kind(tensor):
    """What the request does not tell: the shape of a mask, the dtype of others."""
    if tensor is None:
        return None
    return tuple(tensor.shape) if tensor.dtype == tf.bool else tensor.dtype


@functools.lru_cache(maxsize=256)
def _of_vectors(function: Callable | None) -> Callable | None:
    """`function` of `[..., channels]` tensors and scalars, or None.

    It is traced once for all numbers of channels.
    """
    if function is None:
        return None
    traced = tf.function(function, autograph=False)

    def call(*tensors):
        flat = tf.nest.flatten(tensors)
        channels = next(tensor.shape[-1] for tensor in flat if tensor.shape.rank)
        specs = tf.nest.map_structure(_spec_of_any_size, tensors)
        results = traced.get_concrete_function(*specs)(*tensors)
        for result in tf.nest.flatten(results):
            if result.shape.rank:
                result.set_shape([*result.shape[:-1], channels])
        return results

    return call


def _spec_of_any_size(tensor):
    shape = tensor.shape
    return tf.TensorSpec([*shape[:-1], None] if shape.rank else shape, tensor.dtype)
