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


# Without normalisation the loss is still above 1.9 at step 200, and 2.3 is chance; what
# is measured at step 0 are the initial weights: claims about training leave both out.
TRAINING, THERE = (200, math.inf), "from step 200 on"
RANGE = measure(loss_range, f"range of the loss, median {THERE}", steps=TRAINING)
DISTANCE = measure(predictiveness, f"largest |g' - g|, median {THERE}", steps=TRAINING)
WORST_BETA = measure(
    "beta", f"largest effective beta {THERE}", steps=TRAINING, reduce=max
)
LATE_BETA = measure(
    beta_in_learning_rates,
    "effective beta times learning rate, median of the second half",
    part=(0.5, 1.0),
)
BETA = measure("beta", "effective beta, median of the run")
LINEARITY = measure("local_linearity", "a2, median of the run")
