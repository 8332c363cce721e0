"""Noise on activations, the same in every mode."""

import functools

import tensorflow as tf

from tfbn.ops import batch
from tfbn.ops import philox
from tfbn.ops import requests


def perturb(x, seed, *, axis, mean_range, stddev_max, mean_jitter, stddev_jitter):
    """Santurkar's noise: `s * x + m` with a distribution drawn anew for each channel.

    For each channel mean ~ U(-mean_range, mean_range) and stddev ~ U(1, stddev_max);
    for each element m ~ U(mean - mean_jitter, mean + mean_jitter) and
    s ~ N(stddev, stddev_jitter^2) (arXiv 1805.11604, Algorithm 1).

    Args:
        x: float tensor.
        seed: integer tensor of shape `[2]`. The same seed gives the same noise on
            every device, eager or compiled. On replicas it gives the same distribution
            for a channel, and other noise for the elements of each.
        axis: int >= 0, the channel axis.
    """
    x = tf.convert_to_tensor(x)
    draw, shape = _generator(x, axis)
    (seeds,) = draw((4, 2), [tf.cast(seed, tf.int32)])
    of_channels, of_elements = tf.unstack(seeds[:2]), tf.unstack(seeds[2:])
    mean, stddev = map(_uniform, draw((shape[axis],), of_channels))
    shift, scale = draw(shape, [*map(_of_replica, of_elements)])
    half_range = 0.5 * (stddev_max - 1.0)
    mean, stddev = mean_range * mean, 1.0 + half_range + half_range * stddev
    shift, scale = mean_jitter * _uniform(shift), stddev_jitter * _normal(scale)
    scale = tf.cast(batch.along_axis(stddev, x, axis) + scale, x.dtype)
    shift = tf.cast(batch.along_axis(mean, x, axis) + shift, x.dtype)
    return scale * x + shift


def _of_replica(seed):
    """Of a seed that all replicas have, one for this replica."""
    context = requests.replica_context()
    if context is None:
        return seed
    replica = context.replica_id_in_sync_group
    return tf.random.experimental.stateless_fold_in(seed, replica, alg=_PHILOX)


def _generator(x, axis):
    """What draws random integers for x, and the shape of x.

    The first is a function `(shape, seeds)` that returns a tensor for each seed.
    """
    request = requests.request("perturb", x, axis)
    known = x.shape.is_fully_defined() and x.shape.num_elements() < 2**32
    # On a CPU generators are fast, and it would compute four integers for one.
    if request.on_accelerator and known:
        draw = functools.partial(philox.random_bits, target=request.target)
        return draw, tuple(x.shape)
    return _random_bits, tf.shape(x)


def _random_bits(shape, seeds):
    return [
        tf.random.stateless_uniform(
            shape, seed, minval=None, maxval=None, dtype=tf.int32, alg=_PHILOX
        )
        for seed in seeds
    ]


def _normal(bits):
    """float32 samples of N(0, 1), by the inverse of its distribution function.

    Box-Muller is an eighth cheaper, but gives other noise for the same seed: saved
    models have to keep theirs.
    """
    return 2.0**0.5 * tf.math.erfinv(_uniform(bits))


def _uniform(bits):
    """float32 samples of U(-1, 1): odd multiples of 2^-23.

    Made of integers, because with the same generator and seed TensorFlow's own float
    samples differ between its kernels and XLA; its integers agree.
    """
    # As an unsigned integer less 2^31.
    drawn = tf.bitwise.bitwise_xor(bits, tf.int32.min)
    drawn = tf.bitwise.right_shift(drawn, 9)
    return (tf.cast(drawn, tf.float32) + 0.5) * 2.0**-22


# Named, because "auto" picks another generator on another device or under XLA.
_PHILOX = "philox"
