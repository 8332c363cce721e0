"""What all measurements share: batches, compilation, and what they cost."""

import functools
from typing import NamedTuple

import tensorflow as tf

from tfbn import validation


class Cost(NamedTuple):
    """What a measurement costs beside the training.

    Attributes:
        passes: float, forward and backward passes of the whole model, in number as
            many as take about the same time.
        copies: int, tensors of the size of all parameters that it holds beside a
            training step's memory.
    """

    passes: float
    copies: int


def as_batch(x, y):
    """`(x, y)` as tensors or structures of tensors.

    Args:
        x, y: arrays, tensors, structures of them, or lists of numbers.

    Raises:
        ValueError: if they are none of these, or do not hold the same number of
            examples, or none.
    """
    x, y = _tensors("x", x), _tensors("y", y)
    sizes = {t.shape[0] for t in tf.nest.flatten((x, y)) if t.shape.rank} - {None}
    if len(sizes) > 1 or 0 in sizes:
        shapes = [str(tuple(t.shape)) for t in tf.nest.flatten((x, y))]
        raise ValueError(
            "x and y must hold the same number of examples, one or more. Received: "
            f"shapes {', '.join(shapes)}."
        )
    return x, y


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


def compiled(function, *, jit_compile=False):
    """`function` as a tf.function that tells in one line if the batch does not fit.

    Args:
        function: of tensors.
        jit_compile: bool, whether XLA compiles it; where it compiles the model.

    Raises:
        ValueError: if `jit_compile` is no bool.
    """
    jit_compile = validation.boolean("jit_compile", jit_compile)
    # Partial, or TensorFlow takes the functions of several meters for one, by their
    # code, and warns that it was traced anew.
    traced = tf.function(
        functools.partial(function),
        autograph=False,
        jit_compile=jit_compile,
        reduce_retracing=True,
    )

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return traced(*args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"the batch must fit the model and the loss. Received: {_reason(error)}"
            ) from error

    return call


def _reason(error):
    """The line of an error of TensorFlow's that is neither heading nor traceback."""
    lines = [line.strip() for line in (error.message or "").splitlines()]
    others = ("Graph execution error", "Detected at", 'File "', "<stack", "[[")
    told = [line for line in lines if line and not line.startswith(others)]
    return told[0] if told else type(error).__name__


def waiting_for(done, tensors):
    """`tensors`, there as soon as those in `done` are.

    Passes through a model whose parameters wait for the pass before run one after the
    other, so that the activations of one are alive at a time.
    """
    with tf.control_dependencies(done):
        return [tf.identity(t) for t in tensors]


def squared_norm(tensors):
    """The sum of squares over all elements of a list of tensors, float64."""
    # L2Loss sums as it squares; parameters may differ in dtype.
    return tf.add_n([2.0 * tf.cast(tf.nn.l2_loss(t), tf.float64) for t in tensors])


def norm(tensors):
    """The l2 norm over all elements of a list of tensors, float64."""
    return tf.sqrt(squared_norm(tensors))


def dot(a, b):
    """The inner product of two lists of tensors, float64."""
    products = [tf.reduce_sum(p * q) for p, q in zip(a, b, strict=True)]
    return tf.add_n([tf.cast(p, tf.float64) for p in products])
