"""Functions in a graph that layers of one shape share: traced once, not once a layer.

A normalisation is some hundred operations, and tracing them takes most of the time of
a first training step. Before it runs a graph, TensorFlow puts the operations of a
function in the place of each call.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable
from collections.abc import Iterator

import tensorflow as tf

from tfbn.ops import requests
from tfbn.ops.requests import Request
from tfbn.ops.training_step import TrainingStep


def serve(request: Request) -> bool:
    """Whether a training call is made of shared functions."""
    return _sharing.get() and not (
        tf.executing_eagerly()  # each new size would be traced
        or request.compiled  # XLA sees through them, and gains nothing
        or request.exported  # converters want operations
        or request.masked
        or request.virtual_batch_size is not None
        or request.derivative != "none"
        or requests.replica_context() is not None  # each replica has a graph of its own
    )


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
def forward(step: TrainingStep) -> Callable:
    """`step.forward`, with the tensors that the normalizer saves in its place."""

    def run(x, weights, inputs):
        *results, normalizer, r_and_d = step.forward(x, weights, inputs)
        return *results, normalizer.saved, r_and_d

    return tf.function(run, autograph=False)


@functools.lru_cache(maxsize=256)
def backward(step: TrainingStep) -> Callable:
    """`step.backward`, of the tensors that `forward` returns."""
    kind = step.implementation.Normalizer

    def run(dy, weights, saved, r_and_d):
        normalizer = kind.of_saved(saved, dy, step.request, step.epsilon)
        return step.backward(dy, weights, normalizer, r_and_d)

    return tf.function(run, autograph=False)
