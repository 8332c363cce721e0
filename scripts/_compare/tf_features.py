"""What the layers of tfbn, Keras and tf_keras have: a worker with two logical CPUs."""

import functools

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import keras
import numpy as np
import tensorflow as tf
import tf_keras
from _compare import local
from _compare import model_features
from _compare import probing
from _compare import serving
from _compare import tf_diagnostics

import tfbn

# Bounds that leave renorm no correction; Keras wants rmax > rmin.
_NARROW = {"rmax": 1.00001, "dmax": 0.0}
_BN = {
    "tfbn": tfbn.BatchNorm,
    "keras": keras.layers.BatchNormalization,
    "tf_keras": tf_keras.layers.BatchNormalization,
}


def features():
    """A dict from library to its answers."""
    return {library: probing.answers(_probes(library)) for library in _BN}


def _probes(library):
    make = _BN[library]
    of_layer = {
        "renorm": _renorm,
        "schedule": _schedule,
        "masks": _masks,
        "virtual_batches": _virtual_batches,
        "synchronized": _synchronized,
        "synchronized_renorm": _synchronized_renorm,
        "second_derivatives": _second_derivatives,
        "mixed_precision": _mixed_precision,
        "axes": _axes,
        "nonfinite": _nonfinite,
        "recomputation": _recomputation,
        "unbiased": _unbiased,
        "noise": _noise,
        "lp": _lp,
        "no_averages": lambda library: probing.absent(make, "track"),
        "cumulative": lambda library: probing.absent(make, "cumulative"),
    }
    found = {name: _bound(probe, library) for name, probe in of_layer.items()}
    return found | model_features.probes(library)


def _bound(probe, library):
    return lambda: probe(library)


def _trained(layer, x, **options):
    return layer(tf.constant(x), training=True, **options).numpy()


def _renorm_case(x, **more):
    state = {"moving_mean": 1.5, "moving_stddev": 2.0, "rmax": 3.0, "dmax": 5.0}
    return {"kind": "renorm", "x": x, "upstream": x, **state, **more}


def _renorm(library):
    x = probing.data()
    y = local.make(f"{library}:function", _renorm_case(x))()[0].numpy()
    return probing.check(
        probing.distance(y, (x - 1.5) / 2.0) < 1e-4,
        "within the bounds, training computes what inference does",
    )


def _schedule(library):
    """The output's scale is r: 1 at first, then 2."""
    x = probing.data((512, 2))
    if library == "tfbn":
        ramp = tfbn.schedules.LinearRamp(1.0, 2.0, begin_step=0, end_step=1)
        layer, move = tfbn.BatchRenorm(momentum=1.0, rmax=ramp, dmax=0.0), None
    else:
        move = tf.Variable(1.01)
        clipping = {"rmax": move, "dmax": 0.0}
        options = {"momentum": 1.0, "renorm_momentum": 1.0}
        layer = _BN[library](renorm=True, renorm_clipping=clipping, **options)
    layer.build(x.shape)
    local.set_averages(layer, {"moving_mean": 0.0, "moving_stddev": 0.5})
    call = tf.function(lambda x: layer(x, training=True), autograph=False)
    scales = [float(call(tf.constant(x)).numpy().std())]
    if move is not None:
        move.assign(2.0)
    scales.append(float(call(tf.constant(x)).numpy().std()))
    if not np.allclose(scales, [1.0, 2.0], rtol=0.02):
        return probing.no(f"scales of the output: {scales}")
    if move is None:
        return probing.yes("a schedule in the graph")
    return probing.partly("the caller has to move a variable between calls")


def _masks(library):
    x, mask = probing.data((6, 4, 3)), np.random.default_rng(1).random((6, 4)) < 0.6
    y = _trained(_BN[library](), x, mask=tf.constant(mask))
    error = probing.distance(y[mask], probing.normalized(x[mask]))
    return probing.check(error < 1e-3, "statistics are those of what is not masked")


def _virtual_batches(library):
    x = probing.data((8, 3))
    y = _trained(_BN[library](virtual_batch_size=4), x)
    orders = [x.reshape(2, 4, 3), x.reshape(4, 2, 3).swapaxes(0, 1)]
    expected = [probing.normalized(groups, axes=1) for groups in orders]
    expected = [expected[0].reshape(8, 3), expected[1].swapaxes(0, 1).reshape(8, 3)]
    error = min(probing.distance(y, e) for e in expected)
    return probing.check(error < 1e-4, "each group has its own statistics")


@functools.cache
def _strategy():
    """One for the process: TensorFlow mixes up the collectives of two."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def _on_two_replicas(make):
    """Whether the output on two replicas is that of their batches together."""
    x = probing.data((8, 3))
    strategy = _strategy()
    with strategy.scope():
        layer = make()
        layer.build((None, 3))
    halves = strategy.experimental_distribute_values_from_function(
        lambda replica: tf.constant(np.split(x, 2)[replica.replica_id_in_sync_group])
    )

    @tf.function
    def step(x):
        return strategy.run(lambda x: layer(x, training=True), args=(x,))

    y = np.concatenate(strategy.experimental_local_results(step(halves)))
    error = probing.distance(y, probing.normalized(x))
    return probing.check(error < 1e-3, "two replicas compute what one computes")


def _synchronized(library):
    return _on_two_replicas(lambda: _BN[library](synchronized=True))


def _synchronized_renorm(library):
    if library == "tfbn":
        return _on_two_replicas(
            lambda: tfbn.BatchRenorm(rmax=1.0, dmax=0.0, synchronized=True)
        )
    clipping = {**_NARROW, "rmin": 1.0 / _NARROW["rmax"]}
    options = {"renorm": True, "renorm_clipping": clipping}
    return _on_two_replicas(lambda: _BN[library](synchronized=True, **options))


def _second_derivatives(library):
    errors = {}
    for shape in ((12, 3), (3, 4, 4, 3)):
        layer = _BN[library](epsilon=1e-3)
        weights = tf.constant(probing.data(shape, seed=7, offset=0.5))

        def gradient(x, layer=layer, weights=weights):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(weights * tf.sin(layer(x, training=True)))
            return tape.gradient(loss, x)

        def product(x, v, gradient=gradient):
            x = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                along = tf.reduce_sum(gradient(x) * v)
            return tape.gradient(along, x)

        errors[len(shape)] = probing.second_derivative_error(
            product,
            lambda x, gradient=gradient: gradient(tf.constant(x)).numpy(),
            probing.data(shape),
        )
    note = "error of a Hessian-vector product: " + ", ".join(
        f"{error:.0e} ({axes} axes)" for axes, error in errors.items()
    )
    most = probing.SECOND_DERIVATIVE_TOLERANCE
    good = [error < most for error in errors.values()]
    if any(good) and not all(good):
        return probing.partly(note)
    return probing.check(all(good), note)


def _mixed_precision(library):
    policy = "mixed_bfloat16"
    if library == "tf_keras":
        policy = tf_keras.mixed_precision.Policy(policy)
    x = tf.cast(probing.data((64, 3), offset=20.0), tf.bfloat16)
    layer = _BN[library](dtype=policy)
    y = layer(x, training=True)
    error = probing.distance(
        tf.cast(y, tf.float32), probing.normalized(tf.cast(x, tf.float32).numpy())
    )
    averages = tf.convert_to_tensor(layer.moving_mean).dtype
    good = y.dtype == tf.bfloat16 and averages == tf.float32 and error < 0.01
    return probing.check(good, f"bfloat16: {error:.0e} off, averages {averages.name}")


def _axes(library):
    x = probing.data((16, 3, 4))
    y = _trained(_BN[library](axis=[1, 2]), x)
    error = probing.distance(y, probing.normalized(x, axes=0))
    return probing.check(error < 1e-4, "axis=[1, 2]")


def _nonfinite(library):
    layer = _BN[library]()
    x = probing.data()
    x[3, 2] = np.nan
    _trained(layer, x)
    finite = np.all(np.isfinite(tf.convert_to_tensor(layer.moving_mean)))
    return probing.check(finite, "")


def _recomputation(library):
    layer = _BN[library](momentum=0.5)
    x = tf.constant(probing.data())
    layer.build(x.shape)
    recomputed = tf.recompute_grad(lambda x: layer(x, training=True))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(recomputed(x) ** 3)
    tape.gradient(loss, x)
    moved = float(np.mean(layer.moving_mean / tf.reduce_mean(x, 0)))
    return probing.check(
        abs(moved - 0.5) < 1e-3, f"tf.recompute_grad: {moved:.2f} of the way, not 0.50"
    )


def _unbiased(library):
    """Of plain layers; the fused kernels of tf_keras differ from its other ones."""
    found = set()
    for shape in ((4, 3), (4, 2, 2, 3)):
        layer, x = _BN[library](momentum=0.0), probing.data(shape)
        _trained(layer, x)
        axes = tuple(range(x.ndim - 1))
        moved = np.mean(tf.convert_to_tensor(layer.moving_variance) / x.var(axes))
        count = x.size // 3
        found.add(bool(abs(moved - count / (count - 1)) < 1e-3))
    if len(found) == 2:
        return probing.partly("for images alone, from the fused kernel")
    return probing.check(found == {True}, "")


def _noise(library):
    if library != "tfbn":
        return probing.absent(_BN[library], "noise", "stddev")
    layer, x = tfbn.NoisyBatchNorm(seed=0), probing.data()
    differ = probing.distance(_trained(layer, x), _trained(layer, x)) > 0.01
    return probing.check(differ, "NoisyBatchNorm")


def _lp(library):
    if library != "tfbn":
        return probing.absent(_BN[library], "order")
    x = probing.data()
    scales = {1: np.abs(x).mean(0), "inf": np.abs(x).max(0)}
    outputs = {p: _trained(tfbn.LpBatchNorm(order=p), x) for p in scales}
    # Whatever is subtracted and however a norm is scaled: outputs have its shape.
    ratios = [outputs[p].std(0) / (x.std(0) / scales[p]) for p in scales]
    same = all(probing.distance(r / r[0], np.ones_like(r)) < 0.01 for r in ratios)
    return probing.check(same, "LpBatchNorm")


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    answers = {"versions": dict, "features": features}
    serving.serve({**answers, "diagnostics": tf_diagnostics.diagnostics})
