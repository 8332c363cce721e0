"""Largest eigenvalue and trace of one Hessian by all libraries that have them."""

import os
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from _benchmark import timing

from tfbn import diagnostics

SIZES = (16, 32, 16, 5)
SAMPLES = 256
_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# What each tool estimates; those that are not here run in a peer.
QUANTITIES = {
    "tfbn_top": "top_eigenvalue",
    "tfbn_meter": "top_eigenvalue",
    "pyhessian_top": "top_eigenvalue",
    "pyhessian_tight": "top_eigenvalue",
    "cockpit_top": "top_eigenvalue",
    "tfbn_trace": "trace",
    "tfbn_hutch++": "trace",
    "pyhessian_trace": "trace",
    "cockpit_trace": "trace",
}
BASES = {"top_eigenvalue": "tfbn_top", "trace": "tfbn_trace"}


def measure(peers, *, rounds, progress):
    """Rows with the median value of each tool, its largest error and its time.

    Each round has other random vectors. The exact values are those of the whole
    Hessian, computed by PyTorch in float64.

    Returns:
        Dict with `exact`, the values, and `rows`; empty without PyTorch.
    """
    peer = peers.get("torch")
    if peer is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.npz")
        arrays = network()
        np.savez(path, allow_pickle=False, **arrays)
        progress("hessians: the exact one")
        exact = peer.ask("exact_hessian", data=path)
        turns = _here(arrays) | {
            tool: lambda seed, tool=tool: peer.ask(
                "hessian", tool=tool, data=path, seed=seed
            )
            for tool in QUANTITIES
            if not tool.startswith("tfbn")
        }
        progress(f"hessians: {rounds} rounds")
        seconds, values = _taken_turns(turns, rounds)
    medians = timing.median_ms(seconds)
    return {
        "exact": exact,
        "rows": [_row(t, medians, seconds, values, exact) for t in turns],
    }


def network():
    """Arrays of a network, dense with tanh between, and of a batch for it."""
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (size, units) in enumerate(zip(SIZES, SIZES[1:], strict=False)):
        arrays[f"kernel{i}"] = rng.standard_normal((size, units)) / np.sqrt(size)
        arrays[f"bias{i}"] = 0.1 * rng.standard_normal(units)
    arrays["x"] = rng.standard_normal((SAMPLES, SIZES[0]))
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    return found | {"y": rng.integers(SIZES[-1], size=SAMPLES)}


def model_of(arrays):
    """The network in Keras."""
    last = len(SIZES) - 2
    layers = [
        keras.layers.Dense(units, None if i == last else "tanh")
        for i, units in enumerate(SIZES[1:])
    ]
    model = keras.Sequential([keras.Input((SIZES[0],)), *layers])
    for i, layer in enumerate(layers):
        layer.set_weights([arrays[f"kernel{i}"], arrays[f"bias{i}"]])
    return model


def _here(arrays):
    model = model_of(arrays)
    batch = arrays["x"], arrays["y"]
    meter = diagnostics.CurvatureMeter(model, _LOSS)
    state, tensors = diagnostics.snapshot(model), [tf.constant(a) for a in batch]
    meter(state, *tensors)  # traces

    def top(seed):
        found = diagnostics.hessian_top_eigenvalue(model, _LOSS, *batch, seed=seed)
        return found.eigenvalue

    def trace(seed, method="hutchinson"):
        options = {"seed": seed, "method": method}
        return diagnostics.hessian_trace(model, _LOSS, *batch, **options).trace

    calls = {
        "tfbn_top": top,
        "tfbn_meter": lambda seed: meter(state, *tensors).eigenvalue,
        "tfbn_trace": trace,
        "tfbn_hutch++": lambda seed: trace(seed, "hutch++"),
    }
    return {
        tool: lambda seed, call=call: _timed(call, seed) for tool, call in calls.items()
    }


def _timed(call, seed):
    begin = time.perf_counter()
    value = call(seed)
    return {"seconds": time.perf_counter() - begin, "value": value}


def _taken_turns(turns, rounds):
    """The seconds and values of each tool, one of each a round."""
    values = {tool: [] for tool in turns}

    def timer(tool):
        found = turns[tool](len(values[tool]))
        values[tool].append(found["value"])
        return found["seconds"]

    timers = {tool: lambda tool=tool: timer(tool) for tool in turns}
    return timing.taking_turns(timers, rounds=rounds), values


def _row(tool, medians, seconds, values, exact):
    quantity = QUANTITIES[tool]
    errors = np.abs(np.divide(values[tool], exact[quantity]) - 1.0)
    return {
        "tool": tool,
        "quantity": quantity,
        "value": float(np.median(values[tool])),
        "largest_error": float(np.max(errors)),
        "ms": medians[tool],
        "least_ms": 1e3 * min(seconds[tool]),
        "ratio": timing.ratio(seconds[tool], seconds[BASES[quantity]]),
    }
