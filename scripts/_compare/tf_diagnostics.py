"""What the diagnostics of tfbn have."""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from _compare import probing

import tfbn
from tfbn import diagnostics as lib

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def diagnostics():
    """A dict from library to its answers."""
    return {"tfbn": probing.answers(_probes())}


def _probes():
    return {
        "shift": _shift,
        "loss_range": lambda: _landscape("losses"),
        "predictiveness": lambda: _landscape("gradient_distances"),
        "beta": lambda: _landscape("beta"),
        "linearity": lambda: _landscape("local_linearity"),
        "top_eigenvalue": _top_eigenvalue,
        "top_n": probing.partly("Lanczos's nodes, no eigenvectors", "read"),
        "trace": _trace,
        "exact_trace": probing.no("Hutchinson and Hutch++", "read"),
        "density": _density,
        "layers": _layers,
        "noise_scale": _noise_scale,
        "activations": _activations,
        "surface": _surface,
        "interpolation": probing.absent(lib, "interpol"),
        "alpha": probing.absent(lib, "alpha"),
        "tic": probing.absent(lib, "tic_", "takeuchi"),
        "histograms": probing.no("histograms are of activations alone", "read"),
        "gradient_tests": probing.absent(lib, "norm_test", "inner", "ortho"),
        "advice": probing.absent(lib, "cabs", "stopping"),
        "distances": probing.absent(lib, "update_size", "distance"),
        "batch_norm": _batch_norm,
        "many_batches": _many_batches,
        "unchanged": _unchanged,
        "fit": _fit,
        "resume": probing.yes("docs/endurance.md: killed runs", "read"),
        "replicas": probing.yes("docs/distributed.md", "read"),
        "plots": probing.yes("tfbn-plot", "read"),
    }


def network():
    """A small network with batch normalisation, and a batch for it."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8), tfbn.BatchNorm(), keras.layers.Activation("tanh")]
    model = keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(3)])
    x = probing.data((32, 6))
    return model, _LOSS, x, np.random.default_rng(2).integers(3, size=32)


def _finite(values, note):
    return probing.check(np.all(np.isfinite(values)) and np.size(values) > 0, note)


def _shift():
    found = lib.internal_covariate_shift(*network(), learning_rate=0.5)
    distances = [layer.distance for layer in found]
    # Nothing comes before the first layer: its G' is G.
    moved = distances[0] < 1e-6 and min(distances[1:]) > 1e-4
    return probing.check(moved, "internal_covariate_shift")


def _landscape(field):
    found = lib.landscape(*network(), step_sizes=(0.1, 0.2, 0.4))
    return _finite(getattr(found, field), f"landscape: {field}")


def _hessian_by_differences(model, loss, x, y):
    """The Hessian of the loss in training mode, `[parameters, parameters]`."""
    variables = [variable.value for variable in model.trainable_variables]
    sizes = np.cumsum([int(np.prod(v.shape)) for v in variables])
    start = np.concatenate([v.numpy().ravel() for v in variables])

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        parts = tape.gradient(value, variables)
        return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

    def at(flat):
        parts = np.split(flat.astype(np.float32), sizes[:-1])
        for variable, part in zip(variables, parts, strict=True):
            variable.assign(part.reshape(variable.shape))
        return gradient().numpy()

    step = 1e-2
    rows = [
        (at(start + step * unit) - at(start - step * unit)) / (2 * step)
        for unit in np.eye(len(start))
    ]
    at(start)
    return (np.array(rows) + np.transpose(rows)) / 2


def _top_eigenvalue():
    arguments = network()
    value = lib.hessian_top_eigenvalue(*arguments).eigenvalue
    expected = np.linalg.eigvalsh(_hessian_by_differences(*arguments))[-1]
    error = abs(value / expected - 1)
    note = f"{error:.0e} off the eigenvalue by differences of gradients"
    return probing.check(error < 0.01, note)


def _batch_norm():
    answer = _top_eigenvalue()
    return answer | {"note": f"training mode: {answer['note']}"}


def _trace():
    arguments = network()
    found = lib.hessian_trace(*arguments)
    off = found.trace - np.trace(_hessian_by_differences(*arguments))
    errors = abs(off) / found.standard_error
    return probing.check(errors < 4, f"{errors:.1f} standard errors off")


def _density():
    found = lib.hessian_top_eigenvalue(*network(), iterations=20, tolerance=0.0)
    good = len(found.nodes) == 20 and abs(found.weights.sum() - 1) < 1e-6
    return probing.check(good, "nodes and weights of a quadrature")


def _layers():
    model, loss, x, y = network()
    meter = lib.CurvatureMeter(model, loss, per_layer=True, iterations=5)
    found = meter(lib.snapshot(model), tf.constant(x), tf.constant(y))
    return _finite([layer.eigenvalue for layer in found.layers], "per_layer=True")


def _noise_scale():
    found = lib.gradient_noise_scale(*network())
    values = [found.squared_norm, found.covariance_trace]
    return _finite(values, "gradient_noise_scale")


def _activations():
    model, _, x, _ = network()
    found = lib.activation_moments(model, x)
    return probing.check(len(found) > 0, "activation_moments")


def _surface():
    radii = np.linspace(-1.0, 1.0, 5)
    found = lib.loss_surface(*network(), radii=radii, dimensions=2)
    good = found.losses.shape == (5, 5) and np.isfinite(found.losses).all()
    return probing.check(good, "loss_surface(dimensions=2)")


def _many_batches():
    model, loss, x, y = network()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    found = lib.hessian_trace(model, loss, dataset, products=4, training=False)
    one = lib.hessian_trace(model, loss, x, y, products=4, training=False)
    error = abs(found.trace / one.trace - 1.0)
    return probing.check(error < 1e-3, f"a Dataset: {error:.0e} off one batch")


def _unchanged():
    arguments = network()
    model = arguments[0]
    before = model.get_weights()
    lib.internal_covariate_shift(*arguments, learning_rate=0.5)
    lib.hessian_top_eigenvalue(*arguments)
    pairs = zip(before, model.get_weights(), strict=True)
    same = all(np.array_equal(one, other) for one, other in pairs)
    return probing.check(same, "weights and averages, to the bit")


def _fit():
    model, loss, x, y = network()
    model.compile("sgd", loss)
    with tempfile.TemporaryDirectory() as folder:
        watch = tfbn.callbacks.Diagnostics(["curvature"], x, y, every=2, log_dir=folder)
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[watch])
        lines = _lines(os.path.join(folder, "records.jsonl"))
    return probing.check(lines > 0, "tfbn.callbacks.Diagnostics, Trainer")


def _lines(path):
    with open(path, encoding="utf-8") as file:
        return sum('"curvature"' in line for line in file)
