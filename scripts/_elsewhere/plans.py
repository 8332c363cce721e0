"""The folder that goes to the other machine, and the results that come back.

`plan.json` lists the runs; `modules/` holds what they compute; `arrays.npz` their
initial values, constants and examples of each batch; `data/` the data sets.
"""

import hashlib
import json
import os
from typing import Any

import numpy as np

from tfbn.files import atomic

PLAN = "plan.json"


class Folder:
    """Writes the folder.

    Args:
        path: str, made if it is missing.
    """

    def __init__(self, path: str):
        self.path = path
        self._arrays: dict[str, np.ndarray] = {}
        self._runs: list[dict[str, Any]] = []
        for name in ("modules", "data"):
            os.makedirs(os.path.join(path, name), exist_ok=True)

    def module(self, module: Any) -> dict[str, Any]:
        """Keeps a `Module`; returns how it is called."""
        path = os.path.join(self.path, "modules", f"{module.name}.stablehlo")
        if not os.path.exists(path):
            with atomic.replacing(path) as file:
                file.write(module.text)
        return module.call()

    def array(self, value: Any) -> str:
        """Keeps an array; returns its name."""
        name = _name(value := np.asarray(value))
        self._arrays[name] = value
        return name

    def data(self, value: Any) -> str:
        """Keeps an array of data in a file of its own; returns its name."""
        name = _name(value := np.asarray(value))
        path = os.path.join(self.path, "data", f"{name}.npy")
        if not os.path.exists(path):
            with atomic.replacing(path, "wb") as file:
                np.save(file, value)
        return name

    def run(self, run: dict[str, Any]) -> None:
        """Adds a run, and says where its results are to be."""
        digest = hashlib.sha256(run["run_dir"].encode()).hexdigest()[:12]
        self._runs.append(run | {"results": f"results/{digest}.npz"})

    def write(self) -> None:
        """Writes the plan."""
        with atomic.replacing(os.path.join(self.path, "arrays.npz"), "wb") as file:
            np.savez_compressed(file, **self._arrays)  # type: ignore[arg-type]
        with atomic.replacing(os.path.join(self.path, PLAN)) as file:
            json.dump({"runs": self._runs}, file)


def _name(value):
    content = value.tobytes() + f"{value.dtype}{value.shape}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


def packed(structure: Any, leaves: list) -> Any:
    """The leaves in a structure as `structure_of` describes it."""
    if isinstance(structure, dict):
        return {name: packed(part, leaves) for name, part in structure.items()}
    if isinstance(structure, list):
        return [packed(part, leaves) for part in structure]
    return leaves.pop(0)


def structure_of(value: Any) -> Any:
    """A structure of dicts and sequences as JSON holds it; dicts in order of names."""
    if isinstance(value, dict):
        return {name: structure_of(value[name]) for name in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [structure_of(part) for part in value]
    return None
