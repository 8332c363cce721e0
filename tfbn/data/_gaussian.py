"""The regression of the deep linear network: Gaussian inputs, a random linear map.

Reference: Santurkar et al. 2018 (arXiv 1805.11604), appendix A.1: 1000 inputs
`x ~ N(0, I)` and targets `A x`, with A 10 x 10 and i.i.d. Gaussian. The paper fixes no
condition number of A, and neither does this.
"""

import numpy as np

from tfbn import validation
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split


def gaussian(*, num_examples=1000, units=10, seed=0):
    """Draws the linear map and the examples of both splits.

    Args:
        num_examples: int > 0, examples in each split; default 1000, as in the paper.
        units: int > 0, the dimension of inputs and targets; default 10.
        seed: int >= 0, default 0.

    Returns:
        A `Dataset` without classes: inputs and targets float32 `[num_examples, units]`.
        The test inputs are other draws, mapped by the same A. Mean 0 and standard
        deviation 1 are the distribution's, not the sample's.

    Raises:
        ValueError: if a number is no positive int or the seed no non-negative int.
    """
    num_examples = validation.integer("num_examples", num_examples, minimum=1)
    units = validation.integer("units", units, minimum=1)
    validation.memory(
        8 * units * (units + 4 * num_examples), num_examples=num_examples, units=units
    )
    rng = np.random.default_rng(validation.integer("seed", seed, minimum=0))
    linear_map = rng.standard_normal((units, units))
    return Dataset(
        name="gaussian",
        train=_draw_split(rng, linear_map, num_examples),
        test=_draw_split(rng, linear_map, num_examples),
        num_classes=None,
        mean=np.zeros(units, np.float32),
        stddev=np.ones(units, np.float32),
    )


def _draw_split(rng, linear_map, num_examples):
    """Inputs, and targets computed in float64 from the inputs as they are stored."""
    inputs = rng.standard_normal((num_examples, len(linear_map)), np.float32)
    targets = inputs.astype(np.float64) @ linear_map.T
    return Split(inputs, targets.astype(np.float32))
