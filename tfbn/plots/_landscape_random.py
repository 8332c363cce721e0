"""The loss and its gradient along a random line from the current parameters."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.plots import _landscape
from tfbn.plots.runs import Runs


def landscape_random(
    runs: Runs, layers: Sequence[str] = (), *, log_steps: bool = False
) -> Figure:
    """Draws the landscape along a random direction of the gradient's length.

    Args:
        runs: label -> records; uses the kind "landscape_random".
        layers: as in `landscape`, whose panels these are.
        log_steps: as in `landscape`.

    Raises:
        ValueError: as `landscape`.
    """
    title = "Landscape along a random direction"
    return _landscape.draw(runs, "landscape_random", title, layers, log_steps)
