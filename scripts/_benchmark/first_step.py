"""Time until the first training step of a network, each in a process of its own.

Seconds of the processor: waiting for other work on the machine does not count.
"""

import functools
import time

import keras
import numpy as np
import tensorflow as tf
from _benchmark import memory
from _benchmark import timing

import tfbn

BATCH_SIZE = 4
# A name of keras.applications -> height and width of the images.
NETWORKS = {"MobileNetV2": 96, "ResNet50V2": 64}
PARTS = ("trace", "step")
LAYERS = {
    "keras_bn": None,
    "tfbn_bn": tfbn.BatchNorm,
    "tfbn_renorm": tfbn.BatchRenorm,
}


def measure(*, rounds, seed, progress):
    """Returns a row for each network: seconds, and ratios to Keras's layer."""
    rows = []
    for network in NETWORKS:
        seconds = {(name, part): [] for name in LAYERS for part in PARTS}
        for i in range(rounds):
            progress(f"first_step: {network}, {i + 1} of {rounds}")
            for name in LAYERS:
                found = memory.in_new_process(times, network, name, seed)
                for part, value in found.items():
                    seconds[name, part].append(value)
        rows.append({"network": network, "layers": _summary(seconds)})
    return rows


def times(network, name, seed):
    """Seconds to trace a training step, and to trace it and run it once."""
    keras.utils.set_random_seed(seed)
    size = NETWORKS[network]
    make = getattr(keras.applications, network)
    model = make(weights=None, input_shape=(size, size, 3), classes=10)
    if LAYERS[name] is not None:
        model = tfbn.replace_batch_norm(model, LAYERS[name], verbose=False)
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy()
    step = tf.function(functools.partial(_step, model, optimizer, loss))
    batch = (
        tf.random.normal((BATCH_SIZE, size, size, 3)),
        tf.zeros(BATCH_SIZE, tf.int64),
    )
    begin = time.process_time()
    traced = step.get_concrete_function(*batch)
    middle = time.process_time()
    traced(*batch)
    return {"trace": middle - begin, "step": time.process_time() - begin}


def _step(model, optimizer, loss, x, y):
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    gradients = tape.gradient(value, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)


def _summary(seconds):
    return {
        name: {
            part: {
                "seconds": float(np.median(seconds[name, part])),
                "ratio": timing.ratio(seconds[name, part], seconds["keras_bn", part]),
            }
            for part in PARTS
        }
        for name in LAYERS
    }
