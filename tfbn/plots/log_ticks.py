"""Ticks and labels of a logarithmic value axis."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter
from matplotlib.ticker import Locator
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import NullFormatter

_FEWEST, _MOST = 3, 7
# Of each decade, from the sparsest on.
_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))


def set_log_ticks(axis: Axes) -> None:
    """Gives a logarithmic value axis three to seven labels, whatever it spans."""
    axis.yaxis.set_major_locator(LogTicks())
    axis.yaxis.set_major_formatter(LogLabels())
    axis.yaxis.set_minor_formatter(NullFormatter())


class LogTicks(Locator):
    """Three to seven ticks at round numbers.

    matplotlib's own locator has but one tick on an axis from 0.2 to 9, and one for each
    power of ten, or each multiple of it, on others.
    """

    def __call__(self) -> Any:
        """Returns the ticks of the present range."""
        axis = self.axis
        assert axis is not None  # matplotlib calls a locator only once it has one
        return self.tick_values(*axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Returns the ticks from `vmin` to `vmax`, both above zero."""
        low, high = sorted((vmin, vmax))
        if not 0.0 < low < high:
            return []
        exponents = np.arange(math.floor(math.log10(low)), math.log10(high) + 1)
        for steps in _STEPS:
            ticks = np.outer(10.0**exponents, steps).ravel()
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if ticks.size >= _FEWEST:
                return ticks[:: -(-ticks.size // _MOST)].tolist()
        evenly = MaxNLocator(_MOST - 2).tick_values(low, high)
        return [tick for tick in evenly if low <= tick <= high]


class LogLabels(Formatter):
    """Plain numbers where they are short, such as 0.02 and 40,000; else powers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Returns the label of the tick at `x`."""
        axis = self.axis
        assert axis is not None  # as above
        low, high = sorted(axis.get_view_interval())
        # Powers of ten are easier to read on axes of many decades, products are not.
        highest = 1e4 if high > 1e3 * low else 1e6
        if low >= 1e-3 and high < highest:
            return f"{x:,.6g}"
        exponent = math.floor(math.log10(x) + 1e-9)
        factor = f"{x / 10.0**exponent:.4g}"
        power = f"10^{{{exponent}}}"
        return f"${power}$" if factor == "1" else rf"${factor} \times {power}$"
