"""Random integers of Philox 4x32-10, computed for each element on its own.

The same integers as TensorFlow's generator makes with `alg="philox"`, of operations
that XLA fuses with what uses them, so that no integer is stored. TensorFlow's own
becomes XLA's generator, which on a TPU moves an array many times through memory to fill
it.

Reference: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), section 3.3.
"""

import math

import tensorflow as tf

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
_SEED_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow mixes seeds
_LOW = 0xFFFF


def random_bits(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """What `tf.random.stateless_uniform(shape, seed, None, None, tf.int32)` returns.

    Each element computes its block of four integers, and keeps one.

    Args:
        shape: the sizes, known; less than 2^32 elements.
        seed: int32 `[2]`.

    Returns:
        int32 tensor.
    """
    mixed = _block(_counter(seed), [_word(key) for key in _SEED_KEY])
    place = _places(shape)
    # The number of an element's block is added to the counter, whose low half is 0.
    zeros = tf.zeros_like(place)
    block = [_shifted(place, 2), zeros, zeros + mixed[2], zeros + mixed[3]]
    words = _block(block, mixed[:2])
    return tf.bitcast(_chosen(words, _and(place, 3)), tf.int32)


def _counter(seed):
    """Two integers of 64 bits as words, the low one first."""
    signs = tf.bitwise.right_shift(seed, 31)  # arithmetic: 0 or -1
    words = tf.bitcast(tf.stack([seed, signs], axis=1), tf.uint32)
    return tf.unstack(tf.reshape(words, [4]))


def _block(counter, key):
    """The four words of a counter of four words, with a key of two."""
    words = counter
    for _ in range(_ROUNDS):
        words = _round(words, key)
        key = [k + _word(step) for k, step in zip(key, _KEY_STEPS, strict=True)]
    return words


def _round(block, key):
    (high_0, low_0), (high_1, low_1) = (
        _product(word, multiplier)
        for word, multiplier in zip(block[::2], _MULTIPLIERS, strict=True)
    )
    return [
        _xor(high_1, block[1], key[0]),
        low_1,
        _xor(high_0, block[3], key[1]),
        low_0,
    ]


def _product(word, multiplier):
    """The high and the low word of a product, in halves: TPUs have no 64 bits."""
    high_m, low_m = divmod(multiplier, 1 << 16)
    high, low = _shifted(word, 16), _and(word, _LOW)
    middle = high * _word(low_m) + _shifted(low * _word(low_m), 16)
    other = low * _word(high_m) + _and(middle, _LOW)
    top = high * _word(high_m) + _shifted(middle, 16) + _shifted(other, 16)
    return top, word * _word(multiplier)


def _chosen(block, which):
    """The word of a block that an element keeps."""
    chosen = block[3]
    for i in range(3):
        chosen = tf.where(tf.equal(which, _word(i)), block[i], chosen)
    return chosen


def _places(shape):
    """The place of each element in the order of memory, uint32."""
    place = tf.zeros(shape, tf.uint32)
    for axis, size in enumerate(shape):
        along = [size if i == axis else 1 for i in range(len(shape))]
        steps = tf.reshape(tf.cast(tf.range(size), tf.uint32), along)
        place += steps * _word(math.prod(shape[axis + 1 :]))
    return place


def _word(value):
    return tf.constant(value, tf.uint32)


def _and(word, bits):
    return tf.bitwise.bitwise_and(word, _word(bits))


def _xor(*words):
    first, *others = words
    for word in others:
        first = tf.bitwise.bitwise_xor(first, word)
    return first


def _shifted(word, bits):
    return tf.bitwise.right_shift(word, _word(bits))
