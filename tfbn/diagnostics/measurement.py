"""Tools that all measurements share: batches, compilation, cost, lists of tensors."""

import contextlib
import contextvars
import functools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import _scopes
from tfbn import validation
from tfbn.diagnostics import arguments
from tfbn.diagnostics import batches

_HANDLER: contextvars.ContextVar[Callable | None] = contextvars.ContextVar(
    "handler", default=None
)


class Cost(NamedTuple):
    """The cost of a measurement.

    Attributes:
        passes: float, its time in forward and backward passes of the whole model.
        copies: int, its memory in copies of all parameters, in addition to that of a
            training step.
    """

    passes: float
    copies: int


def as_batch(x: Any, y: Any, *, many: bool = False) -> tuple[Any, Any]:
    """Returns `(x, y)` as tensors or structures of tensors.

    Args:
        x, y: arrays, tensors, structures of them, or lists of numbers.
        many: bool, whether `x` may be a dataset of batches, and `y` then None, which
            are returned as they are; see `batches.checked`. Default False.

    Raises:
        ValueError: for anything else, different numbers of examples, or no examples.
    """
    if batches.is_dataset(x):
        if not many:
            raise ValueError(
                "x must be one batch here. Received: a dataset of several. Take a "
                "batch of it: x, y = next(iter(dataset))."
            )
        return batches.checked(x, y), None
    x, y = _tensors("x", x), _tensors("y", y)
    sizes = {t.shape[0] for t in tf.nest.flatten((x, y)) if t.shape.rank} - {None}
    if len(sizes) > 1 or 0 in sizes:
        shapes = [str(tuple(t.shape)) for t in tf.nest.flatten((x, y))]
        raise ValueError(
            "x and y must hold the same number of examples, one or more. Received: "
            f"shapes {', '.join(shapes)}."
        )
    return x, y


def as_inputs(x: Any) -> Any:
    """Returns inputs without targets, as `as_batch` does; or a dataset of them.

    Raises:
        ValueError: as `as_batch`, or for a dataset without an end or elements.
    """
    return batches.checked_inputs(x) if batches.is_dataset(x) else as_batch(x, x)[0]


def _tensors(name, part):
    try:
        if all(isinstance(leaf, (int, float)) for leaf in tf.nest.flatten(part)):
            return tf.convert_to_tensor(part)
        return tf.nest.map_structure(tf.convert_to_tensor, part)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array, a tensor or a structure of them. Received: "
            f"{name}={validation.shown(part)}."
        ) from error


def traced(function: Callable, **options: Any) -> Any:
    """Returns `tf.function(function, **options)`, for methods of several objects."""
    # Partial: TensorFlow identifies functions by their code, and would warn that those
    # of several objects are one that is retraced.
    return tf.function(functools.partial(function), **options)


def compiled(function: Callable, *, jit_compile: bool = False) -> Callable:
    """Returns a `tf.function` whose error for a batch that does not fit is one line.

    Args:
        function: function of tensors.
        jit_compile: bool, whether XLA compiles it.

    Raises:
        ValueError: if `jit_compile` is no bool.
    """
    jit_compile = validation.boolean("jit_compile", jit_compile)
    function_of_graph = traced(
        function, autograph=False, jit_compile=jit_compile, reduce_retracing=True
    )

    @functools.wraps(function)
    def call(*args, **kwargs):
        handler = _HANDLER.get()
        if handler is not None:
            return handler(function, args)
        with errors_of_the_batch():
            return function_of_graph(*args, **kwargs)

    return call


def calls_go_to(
    handler: Callable[[Callable, tuple], Any],
) -> contextlib.AbstractContextManager[None]:
    """Has all functions of `compiled` computed by a handler, such as elsewhere.

    Args:
        handler: function `handler(function, args)` -> what `function(*args)` returns.
    """
    return _scopes.holding(_HANDLER, handler)


@contextlib.contextmanager
def errors_of_the_batch() -> Iterator[None]:
    """Turns an error of a graph that a batch does not fit into a line."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "the batch must fit the model and the loss. Received: "
            f"{arguments.first_line(error)}"
        ) from error


def waiting_for(done: list[tf.Tensor], tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns `tensors`, available only when those in `done` are.

    Passes through a model whose parameters wait for the previous pass run one after the
    other, so that the activations of one are alive at a time.
    """
    with tf.control_dependencies(done):
        return [tf.identity(t) for t in tensors]


def any_number(points: np.ndarray) -> tf.RaggedTensor:
    """Returns points `[n, ...]` so that another `n` does not retrace."""
    # The length of a ragged tensor's rows does not belong to its type.
    return tf.RaggedTensor.from_row_lengths(points, [len(points)])


def one_by_one(function: Callable, points: tf.RaggedTensor, signature: Any) -> Any:
    """Returns `function` of each of `any_number(points)`, stacked.

    Sequentially, so that the activations of one point are alive at a time.

    Args:
        function: function of a point.
        points: what `any_number` returned.
        signature: structure of `tf.TensorSpec`, what the function returns.
    """
    return tf.map_fn(
        function, points.values, parallel_iterations=1, fn_output_signature=signature
    )


def plus(a: Sequence, factor: Any, b: Sequence) -> list[tf.Tensor]:
    """Returns `a + factor * b` for two lists of tensors, in the dtypes of `a`."""
    return [p + tf.cast(factor, p.dtype) * q for p, q in zip(a, b, strict=True)]


def plain(result: Any) -> Any:
    """Returns a result as records hold it: dicts, lists and numbers.

    Args:
        result: a named tuple, an array, a scalar, or a list or tuple of these.
    """
    if hasattr(result, "_asdict"):
        return {name: plain(value) for name, value in result._asdict().items()}
    if isinstance(result, (list, tuple)):
        return [plain(part) for part in result]
    return result.tolist() if isinstance(result, np.ndarray) else result


def squared_norm(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns the sum of squares over all elements of a list of tensors, float64."""
    # L2Loss squares and sums in one kernel; parameters may differ in dtype.
    return tf.add_n([2.0 * tf.cast(tf.nn.l2_loss(t), tf.float64) for t in tensors])


def norm(tensors: list[tf.Tensor]) -> tf.Tensor:
    """Returns the l2 norm over all elements of a list of tensors, float64."""
    return tf.sqrt(squared_norm(tensors))


def dot(a: list[tf.Tensor], b: list[tf.Tensor]) -> tf.Tensor:
    """Returns the inner product of two lists of tensors, float64."""
    products = [tf.reduce_sum(p * q) for p, q in zip(a, b, strict=True)]
    return tf.add_n([tf.cast(p, tf.float64) for p in products])
