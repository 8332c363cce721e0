"""The Hessian of a model's loss times a vector."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfbn import _compat
from tfbn.diagnostics import batches
from tfbn.diagnostics.loss_function import LossFunction

# Cost of one product, in forward and backward passes: it differentiates through both
# passes of the gradient.
PASSES = 3.0

# The vectors of a product are this much longer, so that a float16 model's derivatives
# do not vanish; a power of two, exact in other dtypes.
_SCALE = 1024.0


def vector_product(
    loss: LossFunction,
    indices: Sequence[int],
    state: tuple[Sequence, Sequence],
    x: Any,
    y: Any,
    vectors: Sequence[tf.Tensor],
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """A block of the Hessian times a vector: the gradient of <gradient, vector>.

    Derivatives are TensorFlow's, with that of `tf.nn.moments` corrected.

    Args:
        loss: the loss.
        indices: which of the parameters make the block.
        state: `(parameters, buffers)`.
        x, y: the batch: tensors, or structures of them; or a dataset, as in
            `LossFunction`.
        vectors: list of tensors, shaped as those parameters, of about length 1 (all
            together) if the model computes in float16.

    Returns:
        `(loss, products)`: a scalar, and a list of tensors as `vectors`. No state
        changes. Cost: `PASSES` passes, and about twice the activations of a training
        step.
    """
    parameters, buffers = state
    if batches.is_dataset(x):

        def of_batch(x, y):
            own = [tf.identity(p) for p in parameters], buffers  # of its graph
            value, products = vector_product(loss, indices, own, x, y, vectors)
            return [value, *products]

        like = [tf.TensorSpec([], tf.float64), *vectors]
        value, *products = batches.mean(of_batch, x, like)
        return value, products
    watched = [parameters[i] for i in indices]
    with (
        _compat.twice_differentiable_moments(),
        tf.GradientTape(watch_accessed_variables=False) as tape,
    ):
        tape.watch(watched)
        value, gradients = loss.value_and_gradients(parameters, buffers, x, y, indices)
    upstream = [
        tf.cast(_SCALE * v, g.dtype) for v, g in zip(vectors, gradients, strict=True)
    ]
    products = tape.gradient(
        gradients,
        watched,
        output_gradients=upstream,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return value, [
        tf.cast(tf.convert_to_tensor(p), v.dtype) / _SCALE
        for p, v in zip(products, vectors, strict=True)
    ]
