"""Time of a layer by itself, in training and in inference."""

import keras
import tensorflow as tf
from _benchmark import candidates
from _benchmark import timing

from tfbn.commands.list_flags import shape_text

MODES = ("graph", "xla")
HARNESS, COPY = "harness", "copy"
RATIOS = (
    ("keras_bn", "tfbn_bn"),
    (candidates.FUSED, "tfbn_bn"),
    ("keras_renorm", "tfbn_renorm"),
    ("tfbn_renorm", "tfbn_bn"),
)


def training(shapes, dtypes, *, rounds, seed, progress):
    """Forward and backward in training: a list of rows, one a shape, dtype and mode.

    The time is that of `sum(layer(x) * w)`, its gradients with respect to x, gamma and
    beta, and the update of the moving averages, minus the time of the same call without
    the layer. The sum is returned too; otherwise the output would be pruned.

    A copy, of the input into new memory, is a unit for such times: it reads and writes
    the tensor once. Nothing is subtracted from its time.
    """
    return _rows(training_calls, "layers", shapes, dtypes, rounds, seed, progress)


def inference(shapes, dtypes, *, rounds, seed, progress):
    """Forward in inference: rows like those of `training`.

    The harness is a call that returns one element of x. For the identity, XLA would
    copy x, which takes as long as a layer takes to write its output.
    """
    return _rows(inference_calls, "inference", shapes, dtypes, rounds, seed, progress)


def summary(seconds):
    """Medians and ratios of the seconds of the harness, the copy and each candidate."""
    copy = seconds[COPY]
    net = timing.net({n: s for n, s in seconds.items() if n != COPY}, HARNESS)
    ratios = {f"{a}/{b}": timing.ratio(net[a], net[b]) for a, b in RATIOS if a in net}
    copies = timing.ratio(net["tfbn_bn"], copy)
    medians = timing.median_ms(seconds)
    return {
        "harness_ms": medians[HARNESS],
        "copy_ms": medians[COPY],
        "net_ms": timing.median_ms(net),
        "ratios": {**ratios, "tfbn_bn/copy": copies},
    }


def _rows(make_calls, section, shapes, dtypes, rounds, seed, progress):
    cases = [(s, d, m) for s in shapes for d in dtypes for m in MODES]
    rows = []
    for shape, dtype, mode in cases:
        progress(f"{section}: {shape_text(shape)} {dtype} {mode}")
        keras.utils.set_random_seed(seed)
        calls = make_calls(shape, dtype, jit_compile=mode == "xla")
        seconds = timing.interleaved(calls, rounds=rounds, seed=seed)
        row = {"shape": list(shape), "dtype": dtype, "mode": mode}
        rows.append({**row, **summary(seconds)})
    return rows


def training_calls(shape, dtype, *, jit_compile):
    x, w = (tf.cast(tf.random.normal(shape), dtype) for _ in range(2))

    def call(layer, weights):
        def step(x, w):
            variables = [tensor(weight) for weight in weights]
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(layer(x, training=True) * w)
            return loss, tape.gradient(loss, [x, *variables])

        return timing.blocking(_function(step, jit_compile), x, w)

    calls = {HARNESS: call(lambda x, training: tf.identity(x), [])}
    calls[COPY] = _copying(x, jit_compile)
    for name, layer in _built_layers(shape, dtype).items():
        calls[name] = call(layer, layer.trainable_weights)
    return calls


def inference_calls(shape, dtype, *, jit_compile):
    x = tf.cast(tf.random.normal(shape), dtype)

    def call(function):
        return timing.blocking(_function(function, jit_compile), x)

    calls = {HARNESS: call(lambda x: tf.reshape(x, [-1])[0])}
    calls[COPY] = _copying(x, jit_compile)
    for name, layer in _built_layers(shape, dtype).items():
        calls[name] = call(lambda x, layer=layer: layer(x, training=False))
    return calls


def _copying(x, jit_compile):
    """A call that reads x and writes a tensor of its size."""
    return timing.blocking(_function(tf.negative, jit_compile), x)


def tensor(weight):
    """What a tape takes for a weight of Keras's or of tf_keras's."""
    return weight if isinstance(weight, tf.Variable) else weight.value


def _built_layers(shape, dtype):
    layers = {name: candidates.make(name, dtype) for name in candidates.available()}
    for layer in layers.values():
        layer.build(shape)
    return layers


def _function(function, jit_compile):
    return tf.function(function, autograph=False, jit_compile=jit_compile)
