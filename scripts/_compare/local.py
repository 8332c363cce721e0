"""Training calls of the layers that run in this interpreter."""

import tensorflow as tf
import tf_keras
from _benchmark import candidates
from _benchmark import timing


def make(name, case):
    """A training call of a new layer.

    Args:
        name: str, library and mode, such as "tfbn:function".
        case: dict with the `kind` of layer ("bn" or "renorm"), the arrays `x` and
            `upstream`, and for renorm `moving_mean`, `moving_stddev`, rmax and dmax.

    Returns:
        Function without arguments to output and gradients of input, gamma and beta. It
        returns when they are computed.
    """
    library, _, mode = name.partition(":")
    layer = layer_of(library, case)
    x, upstream = tf.constant(case["x"]), tf.constant(case["upstream"])
    layer.build(x.shape)
    if case["kind"] == "renorm":
        set_averages(layer, case)
    weights = [layer.gamma, layer.beta]
    if library != "tf_keras":  # those of Keras 3 hold the variable
        weights = [weight.value for weight in weights]

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, *tape.gradient(y, [x, *weights], output_gradients=upstream)

    if mode != "eager":
        step = tf.function(step, autograph=False, jit_compile=mode == "jit")
    return timing.blocking(step, x, upstream)


def set_averages(layer, case):
    """Gives a renorm layer the averages of the case, for r, d and inference."""
    names = {"mean": "moving_mean", "stddev": "moving_stddev"}
    for what, value in names.items():
        for average in (getattr(layer, f"{s}_{what}") for s in ("moving", "renorm")):
            average.assign(tf.fill(average.shape, tf.cast(case[value], tf.float32)))


def layer_of(library, case):
    """A new layer that is not built."""
    bounds = {key: case[key] for key in ("rmax", "dmax") if key in case}
    if library != "tf_keras":
        return candidates.make(f"{library}_{case['kind']}", "float32", **bounds)
    if case["kind"] == "renorm":
        bounds = {
            "renorm": True,
            "renorm_clipping": bounds | {"rmin": 1 / case["rmax"]},
        }
    return tf_keras.layers.BatchNormalization(epsilon=candidates.EPSILON, **bounds)
