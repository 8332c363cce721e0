"""Times modules of scripts/export_stablehlo.py with JAX.

Usage: python run_stablehlo.py NAME.stablehlo [NAME.stablehlo ...] [--runs=N]

NAME.npz must be beside NAME.stablehlo. Prints the median time of each module, also as a
multiple of the time that the device needs to copy the first input, and, if the file
holds results, the error against them: max|a - b| / max|b|.

This file needs JAX and NumPy, and nothing else of tfbn.
"""

import argparse
import os
import time

import numpy as np

try:
    import jax
    from jaxlib import xla_client  # JAX has no public way to run a module
except ImportError:
    jax = None

_WARMUPS = 3


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
    for path in options.modules:
        print(_result(path, device, options.runs), flush=True)


def _module(path):
    for file in (path, _data_path(path)):
        if not os.path.isfile(file):
            raise argparse.ArgumentTypeError(f"there is no file {file}")
    return path


def _data_path(path):
    return f"{path.removesuffix('.stablehlo')}.npz"


def _result(path, device, runs):
    with np.load(_data_path(path)) as data:
        inputs = [jax.device_put(value, device) for value in _values(data, "in")]
        expected = _values(data, "out")
    run = _compiled(path, device)
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
    """The arrays in000, in001, ... or out000, ...; those stored as recipes drawn."""
    stored = [data[name] for name in sorted(data) if name.startswith(prefix)]
    return [_drawn(str(v)) if v.dtype.kind == "U" else v for v in stored]


def _drawn(recipe):
    _, seed, sizes, dtype = recipe.split(":")
    shape = [int(size) for size in sizes.split(",")]
    values = np.random.default_rng(int(seed)).standard_normal(shape, np.float32)
    return values.astype(jax.numpy.dtype(dtype))


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
    seconds = []
    for _ in range(_WARMUPS + runs):
        begin = time.perf_counter()
        jax.block_until_ready(function(argument))
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[_WARMUPS:]))


def _relative_error(actual, expected):
    error = np.max(np.abs(np.asarray(actual, np.float64) - expected))
    return float(error / np.max(np.abs(expected)))


if __name__ == "__main__":
    main()
