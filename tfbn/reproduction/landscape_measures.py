"""What records of the loss along the gradient say, as numbers that claims compare."""

import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tfbn.reproduction import measures


def loss_range(record: Mapping) -> float:
    """The largest less the least loss along the gradient."""
    losses = record["losses"]
    return max(losses) - min(losses) if all(map(math.isfinite, losses)) else math.inf


def predictiveness(record: Mapping) -> float:
    """The largest |g' - g|."""
    distances = record["gradient_distances"]
    return max(distances) if all(map(math.isfinite, distances)) else math.inf


def beta_in_learning_rates(record: Mapping) -> float:
    """Effective beta times the learning rate."""
    return record["beta"] * record["learning_rate"]


def relative_distance(record: Mapping) -> float:
    """The largest |g' - g| in units of |g|."""
    distance, norm = predictiveness(record), record["gradient_norm"]
    return distance / norm if norm else math.inf


def measure(
    value: str | Callable[[Mapping], float | None], what: str, **options: Any
) -> measures.Measure:
    """A measure of records of the landscape, which have no natural scale."""
    return measures.over("landscape", value, what=what, log=True, **options)
