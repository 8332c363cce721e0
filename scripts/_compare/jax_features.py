"""What sbx's `BatchRenorm` has."""

import jax
import jax.numpy as jnp
import numpy as np
from _compare import probing
from sbx.common import jax_layers


def features():
    """A dict from library to its answers."""
    return {"sbx": probing.answers(_probes())}


def _probes():
    cls = jax_layers.BatchRenorm
    return {
        "renorm": _renorm,
        "schedule": _schedule,
        "masks": probing.absent(cls.__call__, "mask"),
        "virtual_batches": probing.absent(cls, "virtual", "ghost"),
        "synchronized": _synchronized,
        "synchronized_renorm": _synchronized,
        "second_derivatives": _second_derivatives,
        "mixed_precision": _mixed_precision,
        "axes": _axes,
        "nonfinite": _nonfinite,
        "recalibration": probing.absent(jax_layers, "recalibrate", "update_bn"),
        "surgery": probing.absent(jax_layers, "replace", "convert"),
        "freezing": _freezing,
        "unbiased": _unbiased,
        "noise": probing.absent(cls, "noise", "stddev"),
        "lp": probing.absent(cls, "order"),
        "recomputation": _recomputation,
        "folding": probing.absent(jax_layers, "fuse", "fold"),
        "cumulative": probing.absent(cls, "cumulative"),
        "no_averages": probing.absent(cls, "track"),
    }


def _made(x, state=None, **options):
    """A layer and its variables, with some of its state."""
    layer = jax_layers.BatchRenorm(use_running_average=False, **options)
    variables = layer.init(jax.random.key(0), x)
    stats = {**variables["batch_stats"], **(state or {})}
    return layer, {"params": variables["params"], "batch_stats": stats}


def _trained(layer, variables, x):
    y, mutated = layer.apply(variables, x, mutable=["batch_stats"])
    return y, mutated["batch_stats"]


def _state(mean, stddev, size, **more):
    state = {"mean": np.full(size, mean, np.float32)}
    return state | {"var": np.full(size, stddev**2, np.float32), **more}


def _renorm():
    x = probing.data()
    layer, variables = _made(x, _state(1.5, 2.0, 6), warmup_steps=0)
    error = probing.distance(_trained(layer, variables, x)[0], (x - 1.5) / 2.0)
    return probing.check(
        error < 2e-3, "within the bounds, training computes what inference does"
    )


def _schedule():
    """The output's scale is r."""
    x = probing.data((512, 2))
    layer, variables = _made(x, _state(2.0, 0.5, 2), warmup_steps=1, momentum=1.0)
    scales = []
    for _ in range(3):
        y, stats = _trained(layer, variables, x)
        variables = {**variables, "batch_stats": stats}
        scales.append(float(y.std()))
    seen = ", ".join(f"{scale:.1f}" for scale in scales)
    if not np.allclose(scales, [1.0, 3.0, 3.0], rtol=0.05):
        return probing.no(f"scales of the output: {seen}")
    return probing.partly(
        f"one switch to 3 and 5 at warmup_steps: scales of the output {seen}; bounds "
        "are state, which the caller can change"
    )


def _synchronized():
    """Two replicas under vmap, after the warm-up, with bounds of 1 and 0."""
    x = probing.data((8, 3))
    state = _state(0.0, 1.0, 3, r_max=1.0, d_max=0.0)
    layer, variables = _made(x, state, warmup_steps=0, axis_name="replicas")
    y = jax.vmap(lambda x: _trained(layer, variables, x)[0], axis_name="replicas")(
        x.reshape(2, 4, 3)
    )
    error = probing.distance(y.reshape(8, 3), probing.normalized(x))
    return probing.check(error < 1e-3, "axis_name: two replicas compute what one does")


def _second_derivatives():
    errors = {}
    for shape in ((12, 3), (3, 4, 4, 3)):
        x = probing.data(shape)
        layer, variables = _made(x)  # in its warm-up: r and d have no derivative
        weights = probing.data(shape, seed=7, offset=0.5)

        @jax.grad
        def gradient(x, layer=layer, variables=variables, weights=weights):
            return jnp.sum(weights * jnp.sin(_trained(layer, variables, x)[0]))

        def product(x, v, gradient=gradient, *_):
            return jax.jvp(gradient, (x,), (v,))[1]

        errors[len(shape)] = probing.second_derivative_error(product, gradient, x)
    note = "error of a Hessian-vector product: " + ", ".join(
        f"{error:.0e} ({axes} axes)" for axes, error in errors.items()
    )
    most = probing.SECOND_DERIVATIVE_TOLERANCE
    return probing.check(all(e < most for e in errors.values()), note)


def _mixed_precision():
    x = jnp.asarray(probing.data((64, 3), offset=20.0), jnp.bfloat16)
    layer, variables = _made(x, dtype=jnp.bfloat16)
    y, stats = _trained(layer, variables, x)
    expected = probing.normalized(np.asarray(x, np.float32))
    error = probing.distance(np.asarray(y, np.float32), expected)
    good = y.dtype == jnp.bfloat16 and stats["mean"].dtype == jnp.float32
    note = f"bfloat16: {error:.0e} off, averages {stats['mean'].dtype}"
    return probing.check(good and error < 0.01, note)


def _axes():
    x = probing.data((16, 3, 4))
    layer, variables = _made(x, axis=(1, 2))
    y = _trained(layer, variables, x)[0]
    error = probing.distance(y, probing.normalized(x, axes=0))
    return probing.check(error < 1e-4, "axis=(1, 2)")


def _nonfinite():
    x = probing.data()
    layer, variables = _made(x)
    x[3, 2] = np.nan
    stats = _trained(layer, variables, x)[1]
    finite = bool(np.isfinite(stats["mean"]).all())
    return probing.check(finite, "")


def _unbiased():
    x = probing.data()
    layer, variables = _made(x, momentum=0.0)
    moved = float(np.mean(_trained(layer, variables, x)[1]["var"] / x.var(0, ddof=1)))
    return probing.check(abs(moved - 1.0) < 1e-3, "")


def _freezing():
    x = probing.data()
    _, variables = _made(x, epsilon=0.0)
    layer = jax_layers.BatchRenorm(use_running_average=True, epsilon=0.0)
    if probing.distance(layer.apply(variables, x), x) > 1e-5:
        return probing.no("use_running_average")
    return probing.partly("use_running_average=True, layer by layer")


def _recomputation():
    x = probing.data()
    layer, variables = _made(x, momentum=0.5)

    @jax.checkpoint
    def call(x):
        return _trained(layer, variables, x)

    def loss(x):
        y, stats = call(x)
        return jnp.sum(y**3), stats

    stats = jax.grad(loss, has_aux=True)(x)[1]
    moved = float(np.mean(stats["mean"] / x.mean(0)))
    note = f"jax.checkpoint: {moved:.2f} of the way, not 0.50"
    return probing.check(abs(moved - 0.5) < 1e-3, note)
