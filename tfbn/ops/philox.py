"""Random integers of Philox 4x32-10, computed for each element on its own.

The same integers as TensorFlow's generator makes with `alg="philox"`, of operations
that XLA fuses with what uses them, so that no integer is stored. TensorFlow's own
becomes XLA's generator, which fills an array: on a GPU it is written and read again, on
a TPU it moves many times through memory.

Reference: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), section 3.3.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
_SEED_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow mixes seeds
_LOW = 0xFFFF


def random_bits(
    shape: tuple[int, ...], seeds: Sequence[tf.Tensor], target: str
) -> list[tf.Tensor]:
    """What `tf.random.stateless_uniform(shape, seed, None, None, tf.int32)` returns.

    Each element computes its block of four integers, and keeps one.

    Args:
        shape: the sizes, known; less than 2^32 elements.
        seeds: int32 `[2]` each.
        target: "cpu", "gpu" or "tpu", whose products it takes; the integers are the
            same.

    Returns:
        An int32 tensor for each of the seeds.
    """
    product = _product_of_halves if target == "tpu" else _long_product
    # Those of all seeds as one tensor: a GPU would have a kernel for each.
    counters = _block(_counters(tf.stack(seeds)), _keys(*_SEED_KEY), product)
    keys = [[tf.unstack(key) for key in pair] for pair in _keys(*counters[:2])]
    places = _places(shape, start=_unknown_zero(counters[0][0]))
    # The number of an element's block is added to the counter, whose low half is 0.
    number, zeros = _shifted(places, 2), tf.zeros_like(places)
    results = []
    for i in range(len(seeds)):
        counter = [number, zeros, *(zeros + word[i] for word in counters[2:])]
        block = _block(counter, [[key[i] for key in pair] for pair in keys], product)
        results.append(tf.bitcast(_chosen(block, _and(places, 3)), tf.int32))
    return results


def _counters(seeds):
    """Of each seed the two integers of 64 bits as words, the low one first."""
    signs = tf.bitwise.right_shift(seeds, 31)  # arithmetic: 0 or -1
    words = tf.bitcast(tf.stack([seeds, signs], axis=2), tf.uint32)
    return tf.unstack(tf.reshape(words, [-1, 4]), axis=1)


def _block(counter, keys, product):
    """The four words of a counter of four words; `keys` are the two of each round."""
    words = counter
    for keys_of_round in keys:
        words = _round(words, keys_of_round, product)
    return words


def _keys(first, second):
    """The two words of the key in each round."""
    steps = np.outer(_KEY_STEPS, np.arange(_ROUNDS)).astype(np.uint32)
    words = tf.convert_to_tensor([first, second], tf.uint32)
    rank = words.shape.rank
    words = words[:, tf.newaxis] + tf.reshape(steps, [2, _ROUNDS] + [1] * (rank - 1))
    return [tf.unstack(pair) for pair in tf.unstack(words, axis=1)]


def _round(block, key, product):
    (high_0, low_0), (high_1, low_1) = (
        product(word, multiplier)
        for word, multiplier in zip(block[::2], _MULTIPLIERS, strict=True)
    )
    return [
        _xor(high_1, block[1], key[0]),
        low_1,
        _xor(high_0, block[3], key[1]),
        low_0,
    ]


def _long_product(word, multiplier):
    """The high and the low word of a product: one instruction of a GPU."""
    product = tf.cast(word, tf.uint64) * tf.constant(multiplier, tf.uint64)
    high = tf.bitwise.right_shift(product, tf.constant(32, tf.uint64))
    return tf.cast(high, tf.uint32), tf.cast(product, tf.uint32)


def _product_of_halves(word, multiplier):
    """The same, of halves of words: TPUs have no 64 bits."""
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


def _places(shape, start):
    """The place of each element in the order of memory, counted from `start`."""
    along_axes = []
    for axis, size in enumerate(shape):
        along = [size if i == axis else 1 for i in range(len(shape))]
        steps = tf.reshape(tf.cast(tf.range(size), tf.uint32), along)
        along_axes.append(start + steps * _word(math.prod(shape[axis + 1 :])))
    # In halves, which are small where a compiler stores them.
    half = len(shape) // 2
    return sum(along_axes[:half], start) + sum(along_axes[half:], start)


def _unknown_zero(word):
    """0, which TensorFlow and XLA do not know before the program runs.

    They would compute what depends on known numbers alone, and store it: the places,
    and what is made of them.
    """
    return _shifted(_and(word, 1), 1)


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
