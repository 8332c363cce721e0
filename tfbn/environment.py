"""The machine and the versions that numbers were measured with."""

import os
import platform
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tfbn import _compat


def machine() -> dict:
    """The CPU, the cores available to this process, the platform, accelerators."""
    devices = tf.config.list_physical_devices()
    return {
        "cpu": _cpu_model(),
        "cores": num_cores(),
        "platform": platform.platform(),
        "accelerators": [d.name for d in devices if d.device_type != "CPU"],
    }


def versions() -> dict:
    """The versions that affect speed, and whether TensorFlow uses oneDNN."""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tfbn": tfbn.__version__,
        "numpy": np.__version__,
        "onednn": _compat.onednn_enabled(),
    }


def described(results: Mapping) -> str:
    """Date, machine and versions of a script's results, on one line."""
    machine, versions = results["machine"], results["versions"]
    devices = ", ".join(machine["accelerators"]) or "no accelerator"
    onednn = "with" if versions["onednn"] else "without"
    here = (
        f"{results['date']}: {machine['cpu']}, {machine['cores']} cores, {devices}, "
        f"{machine['platform']}; Python {versions['python']}, TensorFlow "
        f"{versions['tensorflow']} ({onednn} oneDNN), Keras {versions['keras']}, tfbn "
        f"{versions['tfbn']}, NumPy {versions['numpy']}"
    )
    origins = results.get("elsewhere", [])
    if isinstance(origins, Mapping):  # older records have one
        origins = [origins]
    return here + "".join(map(_elsewhere, origins))


def _elsewhere(origin):
    """Of runs that scripts/run_exported.py trained."""
    precision = "the device's default precision" if origin["fast"] else "full precision"
    number = origin["runs"]
    runs = "1 run was" if number == 1 else f"{number} runs were"
    return (
        f". {runs} exported, and trained by JAX "
        f"{origin['jax']} on {origin['device']}, {origin['platform']}, with products "
        f"in {precision}"
    )


def num_cores() -> int:
    """The number of cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
