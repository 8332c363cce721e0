"""The two sides of the formulas of `theory`, for one call of a layer."""

import numpy as np
import tensorflow as tf

from tfbn.diagnostics.norm_calls import CapturedCall

# Factor of the loss that keeps float16 gradients from vanishing: a power of two, exact
# in other dtypes.
SCALE = 1024.0

# For each dtype its rounding error, and the root mean square of a channel's gradients
# below which they have no significant digits.
_ROUNDING = {
    tf.float16: (2.0**-10, 2.0**-14 / SCALE),
    tf.bfloat16: (2.0**-7, 1e-30),
    tf.float32: (2.0**-23, 1e-30),
    tf.float64: (2.0**-52, 1e-30),
}


def compared(
    call: CapturedCall, downstream: tf.Tensor, upstream: tf.Tensor
) -> dict[str, tf.Tensor | None]:
    """Returns the values of `GradientIdentities` for one call, except the name.

    Args:
        call: `CapturedCall` of a normalisation layer.
        downstream, upstream: `SCALE` times the gradients with respect to the inputs
            and the outputs of the call.
    """
    channels, before = _Channels(call, downstream, upstream), call.before
    return {
        **channels.theorem(),
        **channels.projection(),
        **channels.affine(_gradients(call, upstream)),
        **channels.invariance(
            before.weights if before else {},
            _gradients(before, downstream) if before else {},
        ),
    }


class _Channels:
    """The terms of the formulas for one call, in float64.

    Sums over the elements of a channel keep their dimensions.
    """

    def __init__(self, call, downstream, upstream):
        layer, y = call.layer, tf.cast(call.inputs, tf.float64)
        axis = layer.axis % y.shape.rank
        self._axes = [i for i in range(y.shape.rank) if i != axis]
        self._m, self._size = self._sum(tf.ones_like(y)), tf.norm(y)
        self._rounding, floor = _ROUNDING[call.inputs.dtype]
        self._floor = tf.sqrt(self._m) * floor
        centred = y - self._sum(y) / self._m
        spread = self._sum(tf.square(centred)) / self._m + layer.epsilon
        self._left = layer.epsilon / spread  # 1 - q
        self._yh = centred / tf.sqrt(spread)
        gamma = tf.cast(call.weights.get("gamma", 1.0), tf.float64)
        shape = [-1 if i == axis else 1 for i in range(y.shape.rank)]
        self._gamma = tf.reshape(gamma, shape) if gamma.shape.rank else gamma
        self._gain = self._gamma / tf.sqrt(spread)
        self._found = tf.cast(downstream, tf.float64) / SCALE
        self._g = tf.cast(upstream, tf.float64) / SCALE
        self._ones = self._sum(self._g)
        self._along = self._sum(self._g * self._yh)
        self._norm = self._length(self._g)
        self._upstream = tf.abs(self._gain) * self._norm

    def theorem(self):
        """Theorem 4.1, as corrected and as printed."""
        left, m = tf.square(self._length(self._found)), self._m
        gain, along = tf.square(self._gain), tf.square(self._along)
        rest = tf.square(self._norm) - tf.square(self._ones) / m
        bound = gain * (rest - (1.0 + self._left) * along / m)
        printed = gain * (rest - along / tf.sqrt(m))
        scale = tf.square(self._upstream + self._floor)
        violated = left > printed + 16.0 * self._rounding * scale
        violations = tf.reduce_sum(tf.cast(violated, tf.float64))
        defined = tf.math.is_finite(tf.reduce_sum(left + printed))
        return {
            "upstream": tf.norm(self._upstream),
            "norm": tf.norm(self._length(self._found)),
            "bound": _signed_root(tf.reduce_sum(bound)),
            "printed_bound": _signed_root(tf.reduce_sum(printed)),
            "relative_error": tf.reduce_max(tf.abs(left - bound) / scale),
            "channel_violations": tf.where(defined, violations, np.nan),
        }

    def projection(self):
        """Fact C.1, and its consequences for <1, G> and <yh, G>."""
        m, upstream = self._m, self._upstream + self._floor
        expected = self._gain * (self._g - self._ones / m - self._yh * self._along / m)
        along = self._sum(self._yh * self._found)
        scale = upstream * tf.maximum(self._length(self._yh), 1.0)
        left = along - self._gain * self._left * self._along
        error = self._length(self._found - expected)
        return {
            "gradient_error": tf.reduce_max(error / upstream),
            "sum_residual": tf.reduce_max(
                tf.abs(self._sum(self._found)) / (tf.sqrt(m) * upstream)
            ),
            "projection": tf.reduce_max(tf.abs(along) / scale),
            "projection_residual": tf.reduce_max(tf.abs(left) / scale),
        }

    def affine(self, gradients):
        """The gradients of gamma and beta; None for one that the layer lacks."""
        norm = self._norm + self._floor
        expected = {
            "gamma": (self._along, norm * tf.maximum(self._length(self._yh), 1.0)),
            "beta": (self._ones, norm * tf.sqrt(self._m)),
        }
        return {
            f"{name}_error": None
            if name not in gradients
            else tf.reduce_max(
                tf.abs(_wide(gradients[name]) - tf.reshape(value, [-1]))
                / tf.reshape(scale, [-1])
            )
            for name, (value, scale) in expected.items()
        }

    def invariance(self, weights, gradients):
        """The invariance to the scale of the preceding weights; None without any."""
        if not weights:
            return {"invariance": None, "invariance_residual": None}
        pairs = [
            (tf.cast(weights[k], tf.float64), _wide(gradients[k])) for k in weights
        ]
        inner = tf.add_n([tf.reduce_sum(w * g) for w, g in pairs])
        scale = self._size * tf.norm(self._upstream + self._floor)
        expected = tf.reduce_sum(self._gamma * self._left * self._along)
        return {
            "invariance": tf.abs(inner) / scale,
            "invariance_residual": tf.abs(inner - expected) / scale,
        }

    def _sum(self, t):
        return tf.reduce_sum(t, self._axes, keepdims=True)

    def _length(self, t):
        return tf.sqrt(self._sum(tf.square(t)))


def _gradients(call, upstream):
    """Returns the gradients of sum(upstream * outputs) for the weights of a call."""
    return call.tape.gradient(
        call.outputs,
        call.weights,
        output_gradients=upstream,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )


def _wide(gradient):
    return tf.cast(gradient, tf.float64) / SCALE


def _signed_root(x):
    return tf.sign(x) * tf.sqrt(tf.abs(x))
