"""The metrics of the steps since the last training record, and their means."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Metrics = Mapping[str, np.ndarray]


class StepMetrics:
    """Collects what `Steps.run` returns until it is recorded.

    Attributes:
        num_skipped: int, steps of the whole run that were skipped.
    """

    def __init__(self):
        self._parts = []
        self.num_skipped = 0

    def add(self, metrics: Metrics) -> None:
        """Adds the metrics of some steps: a dict of float32 arrays `[steps]`."""
        self._parts.append(metrics)
        self.num_skipped += num_skipped(metrics)

    def take_means(self) -> dict[str, float]:
        """The means over all steps added since the last call; see `means`."""
        values = means(self._joined())
        self._parts = []
        return values

    def to_values(self) -> dict[str, Any]:
        """The state as values that JSON can represent."""
        parts = {name: array.tolist() for name, array in self._joined().items()}
        return {"num_skipped": self.num_skipped, "steps": parts}

    def take_values(self, values: Mapping[str, Any]) -> None:
        """Restores what `to_values` returned."""
        self.num_skipped = values["num_skipped"]
        steps = values["steps"]
        self._parts = [{k: np.array(v, np.float32) for k, v in steps.items()}]

    def _joined(self):
        parts = [part for part in self._parts if part]
        names = parts[0] if parts else ()
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def means(metrics: Metrics) -> dict[str, float]:
    """The mean of each metric over the steps that were not skipped.

    If all were skipped, over all of them.
    """
    values = dict(metrics)
    skipped = values.pop("skipped", None)
    if skipped is not None and not np.all(skipped):
        values = {name: array[skipped == 0.0] for name, array in values.items()}
    return {name: float(np.mean(array)) for name, array in values.items()}


def num_skipped(metrics: Metrics) -> int:
    """How many of the steps were skipped."""
    return int(np.sum(metrics.get("skipped", 0.0)))
