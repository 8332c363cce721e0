"""Error of a layer in training, against the formula in float64 on the same data."""

import numpy as np
import tensorflow as tf
from _benchmark import candidates

from tfbn.commands.list_flags import shape_text

MODES = ("eager", "graph", "xla")
OFFSETS = (0.0, 1e2, 1e4, 1e6)

# Moving averages near the batch's statistics, without bounds: r and d take effect. Both
# numbers are exact in float32, at every offset.
MOVING_DRIFT = 0.25
MOVING_STDDEV = 1.25

# What each candidate is to compute.
_FORMULAS = {name: name.partition("_")[2] for name in candidates.NAMES}


def measure(shapes, dtypes, *, offsets=OFFSETS, seed, progress):
    """Returns rows with the errors of the output and of the input gradient.

    The data have unit variance and the mean `offset`. In half precision it is 0 only,
    because the input itself would lose the digits. The upstream gradient is normal with
    mean 3. The `quantity` of a row is "output" or "gradient"; it has the `errors` of
    the candidates and, for each formula, `rounding`: the error of the float64 result
    after rounding to the dtype.
    """
    rows = []
    for shape in shapes:
        for dtype in dtypes:
            for offset in offsets if dtype == "float32" else (0.0,):
                size = shape_text(shape)
                progress(f"exactness: {size} {dtype}, offset {offset:g}")
                rows += _rows(shape, dtype, offset, seed)
    return rows


def relative_error(actual, expected):
    """max|actual - expected| / max|expected|, a float."""
    error = np.max(np.abs(np.asarray(actual, np.float64) - expected))
    return float(error / np.max(np.abs(expected)))


def draw(shape, offset, seed):
    """Input of unit variance around `offset`, and an upstream gradient of mean 3."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + offset, rng.standard_normal(shape) + 3.0


def reference(x, upstream, *, moving_mean=None, moving_stddev=None):
    """Output and input gradient of batch normalisation (Ioffe 2017, Algorithm 1).

    Args:
        x, upstream: float64 arrays, channels last.
        moving_mean, moving_stddev: floats for renorm without bounds; None for plain
            batch normalisation.
    """
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    sigma = np.sqrt(np.square(x - mean).mean(axes) + candidates.EPSILON)
    r, d = 1.0, 0.0
    if moving_stddev is not None:
        r, d = sigma / moving_stddev, (mean - moving_mean) / moving_stddev
    normalized = (x - mean) / sigma
    along = np.mean(upstream * normalized, axes) * normalized
    gradient = (upstream - upstream.mean(axes) - along) * r / sigma
    return normalized * r + d, gradient


def _rows(shape, dtype, offset, seed):
    x, upstream = _data(shape, dtype, offset, seed)
    expected = _expected(x.numpy(), upstream.numpy(), offset)
    rows = []
    for mode in MODES:
        actual = {name: _run(name, x, upstream, offset, mode) for name in _FORMULAS}
        for i, quantity in enumerate(("output", "gradient")):
            row = {"shape": list(shape), "dtype": dtype, "mode": mode, "offset": offset}
            row["quantity"] = quantity
            row["errors"] = {
                name: relative_error(actual[name][i], expected[formula][i])
                for name, formula in _FORMULAS.items()
            }
            row["rounding"] = {
                formula: relative_error(tf.cast(results[i], dtype).numpy(), results[i])
                for formula, results in expected.items()
            }
            rows.append(row)
    return rows


def _expected(x, upstream, offset):
    x, upstream = x.astype(np.float64), upstream.astype(np.float64)
    averages = {
        "moving_mean": offset + MOVING_DRIFT,
        "moving_stddev": MOVING_STDDEV,
    }
    return {
        "bn": reference(x, upstream),
        "renorm": reference(x, upstream, **averages),
    }


def _data(shape, dtype, offset, seed):
    return [tf.cast(array, dtype) for array in draw(shape, offset, seed)]


def _run(name, x, upstream, offset, mode):
    """Output and input gradient of a new layer, as arrays."""
    layer = candidates.make(name, x.dtype.name, rmax=np.inf, dmax=np.inf)
    layer.build(x.shape)
    if _FORMULAS[name] == "renorm":
        for mean, stddev in _averages_of_renorm(layer):
            mean.assign(tf.fill(mean.shape, offset + MOVING_DRIFT))
            stddev.assign(tf.fill(stddev.shape, MOVING_STDDEV))

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, output_gradients=upstream)

    if mode != "eager":
        step = tf.function(step, autograph=False, jit_compile=mode == "xla")
    return [result.numpy() for result in step(x, upstream)]


def _averages_of_renorm(layer):
    """The pairs of mean and stddev; tfbn's layer holds one set under both names."""
    yield layer.moving_mean, layer.moving_stddev
    yield layer.renorm_mean, layer.renorm_stddev
