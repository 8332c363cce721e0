"""Time and error of a step with other values of the thresholds in tfbn.ops.

docs/numerics.md explains the thresholds, and how to choose them from these results.
"""

import contextlib
import importlib
import math
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import tensorflow as tf
from _benchmark import candidates
from _benchmark import exactness
from _benchmark import timing

from tfbn import _compat
from tfbn import ops
from tfbn.commands.list_flags import shape_text
from tfbn.ops import shared_functions

KERNELS = "cpu_kernels" if _compat.onednn_enabled() else "cpu_sums"
_LARGE = (128, 32, 32, 64)


class Sweep(NamedTuple):
    """The values of a constant to try, and on what.

    Attributes:
        constant: "module.NAME" in tfbn.ops.
        values: the values to try.
        shape: shape of the input, channels last, or a function from the value to it.
        implementations: names of the implementations to measure, each by itself.
        offset: function from the value to the mean of the data, whose variance is 1.
        jit_compile: whether XLA compiles the step.
    """

    constant: str
    values: tuple
    shape: tuple[int, ...] | Callable = _LARGE
    implementations: tuple[str, ...] = (KERNELS,)
    offset: Callable = lambda value: 0.0
    jit_compile: bool = False


_FORMULA = ("formula",)
SWEEPS = (
    Sweep(
        "cpu_kernels.MIN_ELEMENTS",
        tuple(2**n for n in range(11, 20)),
        lambda elements: (elements // 64, 64),
        (KERNELS, "wide_sums"),
    ),
    # Prime numbers of rows, and of groups of rows: no larger height divides them.
    Sweep(
        "cpu_kernels.MAX_ROWS_ONE_BY_ONE",
        (1021, 4093, 16381, 65521),
        lambda rows: (rows, 32),
    ),
    Sweep(
        "cpu_kernels.MIN_HEIGHT",
        (1, 2, 4, 8, 16),
        lambda height: (height * 8209, 32),
    ),
    Sweep("cpu_moments.MAX_HEIGHT", (64, 256, 1024, 4096)),
    Sweep("cpu_moments.MIN_GROUPS", (1, 4, 16, 64), (128, 8, 8, 256)),
    Sweep("cpu_moments.ROWS_TOGETHER", (1, 2, 4, 8)),
    Sweep(
        "cpu_moments.MAX_RATIO",
        (1.0, 4.0, 16.0, 64.0),
        offset=lambda ratio: 0.99 * math.sqrt(ratio),
    ),
    Sweep("sums.MAX_RUNNING_SUM", (32, 128, 512), (512, 64), _FORMULA),
    Sweep("sums.MAX_WIDE_SUM", (256, 1024), (1024, 256), _FORMULA),
    Sweep("sums.RUN", (16, 64, 256), _LARGE, _FORMULA),
    Sweep("sums.XLA_RUN", (4, 8, 16), _LARGE, _FORMULA, jit_compile=True),
    Sweep("sums.XLA_SECOND_RUN", (64, 128, 256), _LARGE, _FORMULA, jit_compile=True),
    Sweep(
        "batch.SAMPLE_SIZE",
        (4, 16, 64, 256, 1024),
        _LARGE,
        _FORMULA,
        offset=lambda size: 1e6,
        jit_compile=True,
    ),
)


def measure(*, rounds, seed, progress, sweeps=SWEEPS):
    """Returns a row for each sweep, value and implementation.

    `ms` is the median time of output and gradients in training; `error` is the larger
    of the errors of output and input gradient, as in `exactness`.
    """
    rows = []
    for sweep in sweeps:
        progress(f"thresholds: {sweep.constant}")
        cases = [(v, i) for v in sweep.values for i in sweep.implementations]
        steps = {case: _step(sweep, *case, seed) for case in cases}
        calls = {case: timing.blocking(*step) for case, step in steps.items()}
        seconds = timing.interleaved(calls, rounds=rounds, seed=seed)
        used = constant(sweep.constant)
        for case, milliseconds in timing.median_ms(seconds).items():
            row = {"constant": sweep.constant, "value": case[0], "used": used}
            row["shape"] = shape_text(_shape(sweep, case[0]))
            row["implementation"] = case[1]
            rows.append({**row, "ms": milliseconds, "error": _error(*steps[case])})
    return rows


def constant(name):
    """The value of a constant, "module.NAME" in tfbn.ops."""
    module, name = _located(name)
    return getattr(module, name)


def _step(sweep, value, implementation, seed):
    """A traced function `(x, upstream) -> (y, dx, dgamma, dbeta)`, and its inputs."""
    shape = _shape(sweep, value)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape, np.float32) + np.float32(sweep.offset(value))
    upstream = rng.standard_normal(shape, np.float32) + np.float32(3.0)
    gamma, beta = tf.ones(shape[-1:]), tf.zeros(shape[-1:])

    def step(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, gamma, beta])
            y, _ = ops.batch_norm(
                x, gamma, beta, axis=len(shape) - 1, epsilon=candidates.EPSILON
            )
        gradients = tape.gradient(y, [x, gamma, beta], output_gradients=upstream)
        return y, *gradients

    traced = tf.function(step, autograph=False, jit_compile=sweep.jit_compile)
    inputs = tf.constant(x), tf.constant(upstream)
    with (
        _tried(sweep.constant, value),
        ops.preferring(implementation),
        shared_functions.no_sharing(),  # with calls traced for another value
    ):
        traced(*inputs)
    return traced, *inputs


@contextlib.contextmanager
def _tried(name, value):
    module, name = _located(name)
    with mock.patch.object(module, name, value):
        yield


def _located(name):
    module, name = name.split(".")
    return importlib.import_module(f"tfbn.ops.{module}"), name


def _shape(sweep, value):
    return sweep.shape(value) if callable(sweep.shape) else sweep.shape


def _error(step, x, upstream):
    few = np.s_[..., :4]  # channels do not affect each other
    wide = (tensor.numpy()[few].astype(np.float64) for tensor in (x, upstream))
    expected = exactness.reference(*wide)
    actual = (tensor.numpy()[few] for tensor in step(x, upstream)[:2])
    return max(map(exactness.relative_error, actual, expected))
