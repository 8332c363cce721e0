"""Batch normalisation with both sums in one pass, as accelerators are fast with.

Their time is that of the memory they move. Forward, the data are read once for mean and
variance and once for the output, which is written: 3 passes. Backward, `x` and `dy` are
each read for the sums and again for the gradient, which is written: 5. The formula's
variance needs the mean first, and so a fourth pass forward.

With a mask it serves all devices: the shift is then the mean itself, so nothing is less
exact, and the mask is applied once.
"""

import tensorflow as tf

from tfbn.ops import formula
from tfbn.ops.requests import Request
from tfbn.ops.statistics import rounded_sum

NAME = "one_pass"


def supports(request: Request) -> bool:
    """Whether it can serve the request: see `Implementation`."""
    serves = request.on_accelerator or request.masked
    return serves and request.operation == "batch_norm"


def is_faster(request: Request) -> bool:
    """Whether it is as fast as others: it moves the least memory."""
    del request
    return True


def compute_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype of the inputs that it takes for calls with `dtype`.

    Half precision is cast after a sample is taken: XLA would write the whole float32
    tensor to take a sample of that.
    """
    return dtype


class Normalizer(formula.Normalizer):
    """The normalisation of one batch. Differentiable in `x`."""

    def _moments_of(self, x, sampled, batch, epsilon):
        """The moments of `x - shift`, which is small unless a sample misleads.

        Rounding errors of the variance grow as `1 + ((mean - shift) / deviation)^2`.
        """
        shift = formula.shift_of(sampled, batch)
        moved = batch.keep(x - shift)
        total, squares = batch.total(moved, tf.square(moved))
        rest = total / batch.divisor
        variance = tf.nn.relu(squares / batch.divisor - tf.square(rest))
        rounded, remainder = rounded_sum(shift, rest)
        return formula.statistics(batch, rounded, remainder, variance, epsilon)
