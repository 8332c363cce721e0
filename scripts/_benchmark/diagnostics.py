"""Time and memory of diagnostics, each network in its own process.

A pass computes all gradients of the whole network, forward and backward. Memory is that
of the host, as in `memory`.
"""

import functools
import time

import keras
import tensorflow as tf
from _benchmark import memory
from _benchmark import timing

import tfbn
from tfbn import diagnostics
from tfbn.diagnostics import measurement
from tfbn.experiment import task as task_lib

WITH_ALL_INSTRUMENTS = "VGG-A"
LANCZOS_ITERATIONS = 5
STEPS = 3  # of training, and measurements, before a peak is read


def measure(networks, *, batch_size, rounds, seed, progress):
    """Returns a row for each network, with times and peaks of memory in MiB."""
    options = {"batch_size": batch_size, "seed": seed}
    rows = []
    for name in networks:
        progress(f"diagnostics: {name}")
        row = memory.in_new_process(times, name, rounds=rounds, **options)
        if name == WITH_ALL_INSTRUMENTS:
            progress(f"diagnostics: {name}, all instruments")
            row["instruments"] = memory.in_new_process(
                instrument_passes, name, rounds=rounds, **options
            )
        for what in ("training", "ics"):
            progress(f"diagnostics: {name}, memory of {what}")
            row[f"{what}_mib"] = memory.in_new_process(peak, name, what, **options)
        rows.append({"network": name, **row})
    return rows


def times(name, *, rounds, batch_size, seed):
    """Returns the times of a pass and of a measurement, and the passes per group."""
    model, loss, batch = NETWORKS[name](batch_size, seed)
    state = diagnostics.snapshot(model)
    gradients = measurement.compiled(diagnostics.LossFunction(model, loss).gradients)
    measure_shift = _shift(model, loss, batch)
    begin = time.perf_counter()
    measure_shift()
    first = time.perf_counter() - begin
    calls = {
        "pass": timing.blocking(gradients, *state, *batch),
        "ics": timing.blocking(measure_shift),
    }
    seconds = timing.interleaved(calls, rounds=rounds, warmups=1, seed=seed)
    groups = len(diagnostics.layer_groups(model))
    passes = timing.ratio(seconds["ics"], seconds["pass"])
    return {
        "groups": groups,
        "parameters": model.count_params(),
        "ms": timing.median_ms(seconds),
        "passes": passes,
        "passes_per_group": {
            "median": passes["median"] / groups,
            "quartiles": [q / groups for q in passes["quartiles"]],
        },
        "first_seconds": first,
    }


def instrument_passes(name, *, rounds, batch_size, seed):
    """Returns the passes of a measurement of each diagnostic, measured and expected."""
    model, loss, batch = NETWORKS[name](batch_size, seed)
    state = diagnostics.snapshot(model)
    gradients = measurement.compiled(diagnostics.LossFunction(model, loss).gradients)
    step = diagnostics.TrainingStep(
        step=0,
        before=state,
        after=state,
        batch=batch,
        next_batch=batch,
        probe=batch,
        learning_rate=0.1,
    )
    options = {"curvature": {"iterations": LANCZOS_ITERATIONS, "tolerance": 0.0}}
    meters = {
        name: diagnostic.meter(
            model, loss, second_model=lambda: model, **options.get(name, {})
        )
        for name, diagnostic in diagnostics.registry.items()
        if diagnostic.during_training and name != "ics"  # which `times` measures
    }
    calls = {"pass": timing.blocking(gradients, *state, *batch)}
    calls |= {n: functools.partial(meters[n].measure, step) for n in meters}
    seconds = timing.interleaved(calls, rounds=rounds, warmups=1, seed=seed)
    return {
        name: {
            "passes": timing.ratio(seconds[name], seconds["pass"]),
            "expected": meter.cost.passes,
        }
        for name, meter in meters.items()
    }


def peak(name, what, *, batch_size, seed):
    """Returns the peak memory of this process before and after `STEPS` calls.

    Args:
        what: "training" for steps of SGD, or "ics" for measurements.
    """
    model, loss, batch = NETWORKS[name](batch_size, seed)
    run = {"training": _training_step, "ics": _shift}[what](model, loss, batch)
    built = memory.peak_mib()
    for _ in range(STEPS):
        run()
    return {"start_mib": built, "peak_mib": memory.peak_mib()}


def _training_step(model, loss, batch):
    optimizer = keras.optimizers.SGD(1e-9)
    optimizer.build(model.trainable_variables)
    x, y = batch

    @tf.function
    def step():
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        optimizer.apply(tape.gradient(value, variables), variables)

    return step


def _shift(model, loss, batch):
    meter = diagnostics.CovariateShiftMeter(model, loss)
    return lambda: meter.simulated(
        diagnostics.snapshot(model), *batch, learning_rate=1e-3
    )


def _images(batch_size):
    x = tf.random.stateless_normal((batch_size, 32, 32, 3), [0, 1])
    y = tf.random.stateless_uniform((batch_size,), [0, 2], 0, 10, tf.int32)
    return x, y


def _vgg(depth):
    def build(batch_size, seed):
        keras.utils.set_random_seed(seed)
        model = tfbn.models.vgg(depth, norm=tfbn.BatchNorm)
        return model, task_lib.mean_cross_entropy, _images(batch_size)

    return build


def _resnet(batch_size, seed):
    keras.utils.set_random_seed(seed)
    model = keras.applications.ResNet50V2(
        weights=None, classes=10, input_shape=(32, 32, 3), classifier_activation=None
    )
    return model, task_lib.mean_cross_entropy, _images(max(1, batch_size // 4))


def _deep_linear(batch_size, seed):
    del batch_size  # it is trained on all of its examples
    keras.utils.set_random_seed(seed)
    model = tfbn.models.deep_linear(25, 10, norm=tfbn.BatchNorm)
    x, y = (tf.random.stateless_normal((1000, 10), [0, i]) for i in (1, 2))
    return model, task_lib.HalfSquaredError(), (x, y)


NETWORKS = {
    "VGG-A": _vgg("A"),
    "VGG-E": _vgg("E"),
    "ResNet50V2": _resnet,
    "DLN-25": _deep_linear,
}
