"""Random directions in the space of a model's parameters."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import measurement


def gaussian_direction(
    gradient: Sequence[tf.Tensor], length: tf.Tensor, seed: tf.Tensor
) -> list[tf.Tensor]:
    """Returns Gaussian tensors shaped as `gradient`, whose joint norm is `length`."""
    drawn = [
        tf.random.stateless_normal(tf.shape(g), [seed, i], alg="philox")
        for i, g in enumerate(gradient)
    ]
    scale = length / measurement.norm(drawn)
    return [
        tf.cast(scale, g.dtype) * tf.cast(d, g.dtype)
        for d, g in zip(drawn, gradient, strict=True)
    ]


def filter_normalized_directions(
    parameters: Sequence[tf.Tensor],
    *,
    dimensions: int = 1,
    seed: int = 0,
    include_vectors: bool = False,
) -> list[list[tf.Tensor]]:
    """Returns random directions whose filters are as long as those of the parameters.

    A filter is a slice along the last axis of a parameter of rank 2 or more: the
    weights of one unit or channel. As in the paper, directions are not orthogonalised:
    in high dimension they are nearly orthogonal.

    Args:
        parameters: list of tensors, as in `State`.
        dimensions: 1 or 2, the number of directions. Default 1.
        seed: int >= 0. The first direction does not depend on `dimensions`.
        include_vectors: bool, whether parameters of rank 1 or less (biases, gamma,
            beta) move too, each as one filter. Default False: their direction is 0, as
            in Li et al.'s published code (whose alternative moves them along
            themselves instead).

    Returns:
        A list of `dimensions` directions, each a list of tensors shaped as
        `parameters`.

    Raises:
        ValueError: for an argument outside its range.
    """
    dimensions = validation.choice("dimensions", dimensions, (1, 2))
    seed = validation.integer("seed", seed, minimum=0)
    include_vectors = validation.boolean("include_vectors", include_vectors)
    return [
        [
            _random_like(p, [seed, i * 2 + axis], include_vectors)
            for i, p in enumerate(parameters)
        ]
        for axis in range(dimensions)
    ]


def _random_like(parameter, seed, include_vectors):
    rank = parameter.shape.rank
    if rank < 2 and not include_vectors:
        return tf.zeros_like(parameter)
    values = tf.cast(parameter, tf.float64)
    drawn = tf.random.stateless_normal(
        values.shape, tf.constant(seed, tf.int64), dtype=tf.float64, alg="philox"
    )
    axes = None if rank < 2 else list(range(rank - 1))
    squares = (
        tf.reduce_sum(tf.square(t), axes, keepdims=True) for t in (values, drawn)
    )
    scale = tf.sqrt(tf.math.divide_no_nan(*squares))
    return tf.cast(scale * drawn, parameter.dtype)


def like_parameters(
    directions: Sequence[Sequence], parameters: Sequence[tf.Tensor]
) -> list[list[tf.Tensor]]:
    """Returns one or two directions as tensors with the dtypes of the parameters.

    Raises:
        ValueError: for another number of them, or other shapes.
    """
    shapes = [tuple(p.shape) for p in parameters]
    found = [[tuple(np.shape(d)) for d in direction] for direction in directions]
    if len(found) not in (1, 2) or any(each != shapes for each in found):
        raise ValueError(
            "directions must be one or two lists of tensors like the parameters, of "
            f"shapes {shapes}. Received: {len(found)} of shapes {found}."
        )
    return [
        [tf.cast(d, p.dtype) for d, p in zip(direction, parameters, strict=True)]
        for direction in directions
    ]
