"""Times modules of scripts/export_stablehlo.py with JAX.

Usage: python run_stablehlo.py NAME.stablehlo [NAME.stablehlo ...] [--runs=N]

NAME.npz must be beside NAME.stablehlo. Prints the median time of each module, also as a
multiple of the time that the device needs to copy the first input, and, if the file
holds results, the error against them: max|a - b| / max|b|.

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
    with concurrent.futures.ThreadPoolExecutor() as pool:
        programs = pool.map(lambda path: _compiled(path, device), options.modules)
    for path, program in zip(options.modules, programs, strict=True):
        print(_result(path, program, device, options.runs), flush=True)


def _module(path):
    for file in (path, _data_path(path)):
        if not os.path.isfile(file):
            raise argparse.ArgumentTypeError(f"there is no file {file}")
    return path


def _data_path(path):
    return f"{path.removesuffix('.stablehlo')}.npz"


def _result(path, run, device, runs):
    with np.load(_data_path(path)) as data:
        inputs = [
            _drawn_on(value, device) if isinstance(value, str) else value
            for value in _values(data, "in")
        ]
        expected = _values(data, "out")
    inputs = jax.device_put(inputs, device)
    copy = jax.jit(lambda x: x + 1)
    seconds = _median_seconds(run, inputs, runs)
    copy_seconds = _median_seconds(copy, inputs[0], runs)
    line = (
        f"{path}: {1e3 * seconds:.3f} ms = {seconds / copy_seconds:.2f} copies of "
        f"{1e3 * copy_seconds:.3f} ms"
    )
    if expected:
        errors = map(_relative_error, run(inputs), expected)
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
    with open(path, encoding="utf-8") as file:
        program = device.client.compile_and_load(
            file.read(),
            xla_client.DeviceList((device,)),
            xla_client.CompileOptions(),
        )

    def run(inputs):
        results = program.execute_sharded(inputs)
        return [r[0] for r in results.disassemble_into_single_device_arrays()]

    return run


def _median_seconds(function, argument, runs):
    """The median time of a call, of several that the device has in its queue.

    So the time in which Python hands over a call, some 0.1 ms, is not part of it.
    """
    seconds = []
    for _ in range(_WARMUPS + runs):
        begin = time.perf_counter()
        for _ in range(_CALLS):
            results = function(argument)
        jax.block_until_ready(results)
        seconds.append((time.perf_counter() - begin) / _CALLS)
    return float(np.median(seconds[_WARMUPS:]))


def _relative_error(actual, expected):
    error = np.max(np.abs(np.asarray(actual, np.float64) - expected))
    return float(error / np.max(np.abs(expected)))


if __name__ == "__main__":
    main()
