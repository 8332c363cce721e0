"""The step sizes at which a loss landscape is measured."""

import numpy as np

from tfbn import validation


def relative_step_sizes(
    learning_rate: float, low: float = 0.5, high: float = 4.0, points: int = 8
) -> np.ndarray:
    """Returns step sizes from `low` to `high` learning rates, in geometric spacing.

    Args:
        learning_rate: float > 0.
        low, high: floats, 0 < low < high. Default 1/2 and 4, the paper's values for
            VGG; for the deep linear network it uses 1/100 and 30.
        points: int >= 2, the number of step sizes. Default 8; neither number nor
            spacing is stated in the paper.

    Returns:
        A float64 array `[points]`, both ends included.

    Raises:
        ValueError: for an argument outside its range.
    """
    learning_rate = validation.number("learning_rate", learning_rate, above=0.0)
    low = validation.number("low", low, above=0.0)
    high = validation.number("high", high, above=low)
    points = validation.integer("points", points, minimum=2)
    validation.memory(8 * points, points=points)
    return learning_rate * np.geomspace(low, high, points)
