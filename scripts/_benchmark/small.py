"""Time of a layer on small inputs, which is that of its operations."""

import keras
import tensorflow as tf
from _benchmark import candidates
from _benchmark import layers
from _benchmark import timing

from tfbn import ops
from tfbn.commands.list_flags import shape_text

SHAPES = ((32, 64), (8, 8, 8, 16), (256, 64))
# Calls a sample: one is too short for a clock.
REPEATS = 20
OF_OPERATIONS = ", of operations"
MODES = (
    "eager, forward",
    "eager, with gradients",
    f"eager, forward{OF_OPERATIONS}",
    f"eager, with gradients{OF_OPERATIONS}",
    "eager, inference",
    "tf.function, with gradients",
    "tf.function of any batch size",
)


def measure(*, rounds, seed, progress):
    """Returns a row for each shape and mode: milliseconds and ratios, see `summary`."""
    rows = []
    for shape in SHAPES:
        for mode in MODES:
            progress(f"small: {shape_text(shape)}, {mode}")
            keras.utils.set_random_seed(seed)
            calls = calls_of(shape, mode)
            seconds = timing.interleaved(calls, rounds=rounds, seed=seed)
            rows.append({"shape": list(shape), "mode": mode, **summary(seconds)})
    return rows


def summary(seconds):
    """Median times of a call, and their ratios to those of Keras's layers."""
    one = {name: [s / REPEATS for s in values] for name, values in seconds.items()}
    return {
        "ms": timing.median_ms(one),
        "ratios": {
            f"tfbn_{kind}/keras_{kind}": timing.ratio(
                one[f"tfbn_{kind}"], one[f"keras_{kind}"]
            )
            for kind in ("bn", "renorm")
        },
    }


def calls_of(shape, mode):
    """For each candidate a function that makes `REPEATS` calls."""
    x = tf.random.normal(shape)
    built = {name: candidates.make(name, "float32") for name in candidates.NAMES}
    for layer in built.values():
        layer.build(shape)
    return {name: _repeated(_call(layer, x, mode), x) for name, layer in built.items()}


def _call(layer, x, mode):
    if mode.endswith(OF_OPERATIONS):
        return _of_operations(_call(layer, x, mode.removesuffix(OF_OPERATIONS)))
    if mode == "eager, inference":
        return lambda x: layer(x, training=False)
    if mode == "eager, forward":
        return lambda x: layer(x, training=True)

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *map(layers.tensor, layer.trainable_weights)])

    if mode == "eager, with gradients":
        return step
    size = None if mode.endswith("any batch size") else x.shape[0]
    spec = tf.TensorSpec([size, *x.shape[1:]])
    return tf.function(step, input_signature=[spec], autograph=False)


def _of_operations(function):
    """As the first eager calls of a shape are, all of them."""

    def call(x):
        with ops.no_sharing():
            return function(x)

    return call


def _repeated(function, x):
    def call():
        for _ in range(REPEATS):
            results = function(x)
        return results

    return timing.blocking(call)
