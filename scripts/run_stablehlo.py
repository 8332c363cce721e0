"""Times modules of scripts/export_stablehlo.py with JAX.

Usage: python run_stablehlo.py NAME.stablehlo [NAME.stablehlo ...] [--runs=N]

NAME.npz must be beside NAME.stablehlo. All modules are compiled before the first is
timed, for XLA tries the algorithms of convolutions on the device; then they take turns.
Prints the median time of each with its quartiles, also as a multiple of the time that
the device needs to copy the first input, and, if the file holds results, the error
against them: max|a - b| / max|b|.

This file needs JAX and NumPy, and nothing else of tfbn.
"""

import argparse
import concurrent.futures
import functools
import os
import time

import numpy as np

try:
    import jax
    from jaxlib import xla_client  # JAX has no public way to run a module
except ImportError:
    jax = None

_COMPILERS = 8  # at a time
_WARMUPS = 3
_CALLS = 10  # in the device's queue


def main():
    """Runs each module and prints a line about it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="+", metavar="NAME.stablehlo", type=_module)
    parser.add_argument("--runs", type=int, default=30, help="times that each is timed")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs must be at least 1. Received: {options.runs}")
    if jax is None:
        parser.error("JAX is missing; install it, such as by: pip install jax")
    device = jax.devices()[0]
    print(f"JAX {jax.__version__} on {device.platform}: {device.device_kind}")
    with concurrent.futures.ThreadPoolExecutor(_COMPILERS) as pool:
        compiling = [pool.submit(_compiled, path, device) for path in options.modules]
    # Not in those threads: JAX has ended with a segmentation fault there.
    modules = [
        _Module(path, program.result(), device)
        for path, program in zip(options.modules, compiling, strict=True)
    ]
    for _ in range(_WARMUPS + options.runs):
        for module in modules:
            module.time()
    for module in modules:
        print(module.result(), flush=True)


def _module(path):
    for file in (path, _data_path(path)):
        if not os.path.isfile(file):
            raise argparse.ArgumentTypeError(f"there is no file {file}")
    return path


def _data_path(path):
    return f"{path.removesuffix('.stablehlo')}.npz"


class _Module:
    """A compiled module, its inputs, and the seconds that its calls took."""

    def __init__(self, path, run, device):
        self._path, self._run = path, run
        with np.load(_data_path(path)) as data:
            inputs = [
                _drawn_on(value, device) if isinstance(value, str) else value
                for value in _values(data, "in")
            ]
            self._expected = _values(data, "out")
        self._inputs = jax.device_put(inputs, device)
        self._copy = jax.jit(lambda x: x + 1)
        self._seconds, self._copy_seconds = [], []

    def time(self):
        """Times calls, and copies of the first input."""
        self._seconds.append(_seconds(self._run, self._inputs))
        self._copy_seconds.append(_seconds(self._copy, self._inputs[0]))

    def result(self):
        """A line about the module."""
        low, seconds, high = np.quantile(self._seconds[_WARMUPS:], [0.25, 0.5, 0.75])
        copy = np.median(self._copy_seconds[_WARMUPS:])
        line = (
            f"{self._path}: {1e3 * seconds:.3f} ms ({1e3 * low:.3f} to "
            f"{1e3 * high:.3f}) = {seconds / copy:.2f} copies of {1e3 * copy:.3f} ms"
        )
        if self._expected:
            errors = map(_relative_error, self._run(self._inputs), self._expected)
            line += f", largest error {max(errors):.1e}"
        return line


def _values(data, prefix):
    """The arrays in000, in001, ... or out000, ...; recipes as strings."""
    stored = [data[name] for name in sorted(data) if name.startswith(prefix)]
    return [str(v) if v.dtype.kind == "U" else v for v in stored]


@functools.cache  # modules have inputs in common
def _drawn_on(recipe, device):
    return jax.device_put(_drawn(recipe), device)


def _drawn(recipe):
    _, seed, sizes, dtype, *scale = recipe.split(":")
    shape = [int(size) for size in sizes.split(",") if size]
    values = np.random.default_rng(int(seed)).standard_normal(shape, np.float32)
    return np.asarray(float(*scale or [1.0]) * values).astype(jax.numpy.dtype(dtype))


def _compiled(path, device):
    """The module as a function from the list of inputs to that of outputs."""
    begin = time.perf_counter()
    with open(path, encoding="utf-8") as file:
        program = device.client.compile_and_load(
            file.read(),
            xla_client.DeviceList((device,)),
            xla_client.CompileOptions(),
        )
    print(f"{path}: compiled, {time.perf_counter() - begin:.0f} s", flush=True)

    def run(inputs):
        results = program.execute_sharded(inputs)
        return [r[0] for r in results.disassemble_into_single_device_arrays()]

    return run


def _seconds(function, argument):
    """The time of a call, of several that the device has in its queue.

    So the time in which Python hands over a call, some 0.1 ms, is not part of it.
    """
    begin = time.perf_counter()
    for _ in range(_CALLS):
        results = function(argument)
    jax.block_until_ready(results)
    return (time.perf_counter() - begin) / _CALLS


def _relative_error(actual, expected):
    error = np.max(np.abs(np.asarray(actual, np.float64) - expected))
    return float(error / np.max(np.abs(expected)))


if __name__ == "__main__":
    main()
