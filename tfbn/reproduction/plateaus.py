"""The plateaus of a deep linear network's loss: one for each rank that it has learnt.

From small weights, gradient descent learns a linear map direction by direction, those
of large singular values first (Saxe et al. 2013, arXiv 1312.6120). In between, the loss
stays near that of the best map of the rank so far.
"""

import functools
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from tfbn import data
from tfbn.recording import records as records_lib
from tfbn.reproduction import measures
from tfbn.reproduction.measures import Measure

KIND = "rank"  # of the records that `ranks` returns
_WITHIN = 1.05  # times the loss of the best map


def best_losses(targets: np.ndarray) -> np.ndarray:
    """The least losses of linear maps of rank 0, 1, ..., units.

    The loss is half the sum of squared errors. Some linear map of the inputs must give
    the targets exactly, and the inputs must have full rank: then the best map of a
    lower rank leaves the other singular values of the targets (Eckart and Young 1936).

    Args:
        targets: float array `[examples, units]`.

    Returns:
        float64 array `[units + 1]`.
    """
    squares = np.linalg.svd(targets.astype(np.float64), compute_uv=False) ** 2
    return 0.5 * np.append(np.cumsum(squares[::-1])[::-1], 0.0)


def ranks(records: Sequence[Mapping], seed: int) -> list[dict]:
    """The rank learnt at each record of training, for a run on `data.gaussian`.

    A rank is learnt if the loss is at most 1.05 times that of its best map.

    Args:
        records: those of the run; only kind "train" counts.
        seed: int >= 0, that of the run, which is that of its data.

    Returns:
        Records of kind `KIND` with `step` and `rank`, an int.
    """
    limits = _WITHIN * _best_losses_of_seed(seed)[1:]
    return [
        {
            "step": record["step"],
            "kind": KIND,
            "rank": int(np.count_nonzero(record["loss"] <= limits)),
        }
        for record in records_lib.select(records, "train")
    ]


def steps_to(rank: int) -> Measure:
    """The `Measure` of the steps to a rank, of the records that `ranks` returns."""
    return measures.first_step(
        "rank", rank, kind=KIND, what=f"steps to the best loss of rank {rank}"
    )


@functools.lru_cache(maxsize=64)
def _best_losses_of_seed(seed):
    return best_losses(data.gaussian(seed=seed).train.targets)
