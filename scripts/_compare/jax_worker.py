"""Layers of Flax and sbx under `jax.jit`, for scripts/compare.py."""

import importlib.metadata

import flax.linen
import jax
import numpy as np
from _compare import jax_features
from _compare import serving
from sbx.common import jax_layers

PACKAGES = ("jax", "flax", "sbx-rl")


def versions():
    """The versions of what is compared."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def make(name, case):
    """A training call of a new layer, which keeps its averages from call to call."""
    library = name.partition(":")[0]
    layer, variables = {"flax": batch_norm, "sbx": renorm}[library](case)
    parameters, state = variables["params"], variables["batch_stats"]
    x, upstream = (jax.device_put(case[key]) for key in ("x", "upstream"))

    @jax.jit
    def step(parameters, state, x, upstream):
        def forward(parameters, x):
            variables = {"params": parameters, "batch_stats": state}
            return layer.apply(variables, x, mutable=["batch_stats"])

        y, pull_back, mutated = jax.vjp(forward, parameters, x, has_aux=True)
        gradients, of_input = pull_back(upstream)
        return (y, of_input, gradients), mutated["batch_stats"]

    def call():
        nonlocal state
        results, state = step(parameters, state, x, upstream)
        return jax.block_until_ready(results)

    return call


def batch_norm(case):
    """Flax's `BatchNorm` and its variables."""
    layer = flax.linen.BatchNorm(use_running_average=False, epsilon=case["epsilon"])
    return layer, layer.init(jax.random.key(0), case["x"][:2])


def renorm(case):
    """sbx's `BatchRenorm` at the end of its warm-up, with the averages of the case."""
    layer = jax_layers.BatchRenorm(use_running_average=False, epsilon=case["epsilon"])
    variables = layer.init(jax.random.key(0), case["x"][:2])
    state = variables["batch_stats"]
    state = {
        "mean": np.full_like(state["mean"], case["moving_mean"]),
        "var": np.full_like(state["var"], case["moving_stddev"] ** 2),
        "r_max": np.float32(case["rmax"]),
        "d_max": np.float32(case["dmax"]),
        "steps": np.int32(case.get("calls", layer.warmup_steps)),
    }
    return layer, {"params": variables["params"], "batch_stats": state}


if __name__ == "__main__":
    calls = serving.Calls(make, np.asarray)
    answers = {
        "versions": versions,
        "printed": serving.printed,
        "features": jax_features.features,
    }
    serving.serve({**answers, **calls.answers()})
