"""Calls that have themselves compiled by XLA, where nobody else does.

On a GPU, TensorFlow runs an operation at a time, and writes and reads the whole tensor
for each: some dozen kernels for a normalisation. XLA makes three loops of them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfbn import validation
from tfbn.ops.requests import Request

MODES = ("auto", "always", "never")
_mode = "auto"


def set_self_compilation(mode: str) -> None:
    """Says whether training calls in a graph compile themselves with XLA.

    Where `jit_compile=True` compiles a whole model or step, this changes nothing.
    Otherwise it makes each call of `batch_norm` and `lp_batch_norm` a function for XLA
    in the graph. That takes effect in graphs traced afterwards, in all threads.

    It leaves alone: eager calls, which XLA would compile each time; statistics that
    replicas share, for XLA cannot wait for another GPU; forward mode; graphs made for
    an export; and inputs of which a size other than that of axis 0 is unknown, for XLA
    compiles anew for each size that it meets.

    Args:
        mode: "auto" (on accelerators; the default), "always" or "never".

    Raises:
        ValueError: for another mode.
    """
    global _mode
    _mode = validation.choice("mode", mode, MODES)


def self_compilation() -> str:
    """The mode that `set_self_compilation` has set."""
    return _mode


def applies(request: Request) -> bool:
    """Whether the call is to compile itself."""
    wanted = _mode == "always" or (_mode == "auto" and request.target != "cpu")
    return (
        wanted
        and not tf.executing_eagerly()
        and not (request.compiled or request.replicated or request.exported)
        and request.derivative != "forward"
        and None not in request.shape[1:]
    )


def call(
    function: Callable,
    options: dict[str, Any],
    request: Request,
    *arguments: Any,
    shared: bool = True,
) -> Any:
    """`function(request, *arguments, **options)`, compiled if `applies`.

    The function is given the request that it then is.

    Args:
        *arguments: structures of tensors and None.
        shared: bool, whether calls with the same options, which must be hashable, are
            one function. Layers of one shape are then traced and compiled once.
    """
    if not applies(request):
        return function(request, *arguments, **options)
    request = dataclasses.replace(request, compiled=True)
    make = _shared if shared else _compiled
    compiled = make(function, request, tuple(options.items()))
    return compiled(*tf.nest.map_structure(_tensor_or_none, arguments))


def _tensor_or_none(argument):
    return None if argument is None else tf.convert_to_tensor(argument)


def _compiled(function, request, options):
    of_tensors = functools.partial(function, request, **dict(options))
    return tf.function(of_tensors, jit_compile=True, autograph=False)


# Of so many layers that differ, all are compiled once.
_shared = functools.lru_cache(maxsize=256)(_compiled)
