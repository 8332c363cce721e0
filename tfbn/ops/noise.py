"""Noise on activations, the same in every mode."""

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
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4, alg=_PHILOX))
    seeds[2:] = map(_of_replica, seeds[2:])  # of what is drawn for each element
    channels = [tf.shape(x)[axis]]
    mean = mean_range * _uniform(_random_bits(channels, seeds[0]))
    half_range = 0.5 * (stddev_max - 1.0)
    stddev = 1.0 + half_range + half_range * _uniform(_random_bits(channels, seeds[1]))
    shift = mean_jitter * _uniform(_bits_of_elements(x, axis, seeds[2]))
    scale = stddev_jitter * _normal(_bits_of_elements(x, axis, seeds[3]))
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


def _bits_of_elements(x, axis, seed):
    """`_random_bits` for as many elements as x has, as it suits the device."""
    request = requests.request("perturb", x, axis)
    known = x.shape.is_fully_defined() and x.shape.num_elements() < 2**32
    # Elsewhere generators are fast, and it would compute four integers for one.
    if request.compiled and request.target == "tpu" and known:
        return philox.random_bits(tuple(x.shape), seed)
    return _random_bits(tf.shape(x), seed)


def _random_bits(shape, seed):
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg=_PHILOX
    )


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
