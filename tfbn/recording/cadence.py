"""The steps at which something is done."""

from tfbn import validation

SPACINGS = ("linear", "log")

# Distance of two measurements in logarithmic spacing, as a fraction of the step.
_GROWTH = 0.1


class Cadence:
    """Steps from 0 on, evenly spaced or increasingly far apart.

    With linear spacing the steps are the multiples of `every`. With logarithmic spacing
    they are the multiples up to 20 * every; after that, a step s is followed by s plus
    the largest multiple of `every` that is at most s / 10. The steps are then about
    evenly spaced on a logarithmic axis, 24 per decade.

    Args:
        every: int >= 0; 0 means never.
        spacing: "linear" or "log".
    """

    def __init__(self, every: int, spacing: str = "linear"):
        self.every = validation.integer("every", every, minimum=0)
        self.spacing = validation.choice("spacing", spacing, SPACINGS)
        self._steps = [0]  # as far as requested so far

    def due(self, step: int) -> bool:
        """Returns whether `step` is one of the steps."""
        if not self.every:
            return False
        if self.spacing == "linear":
            return step % self.every == 0
        return step == 0 or self.next(step - 1) == step

    def next(self, step: int) -> int | None:
        """Returns the first of the steps after `step`, or None."""
        if not self.every:
            return None
        if self.spacing == "linear":
            return (step // self.every + 1) * self.every
        while self._steps[-1] <= step:
            self._steps.append(self._after(self._steps[-1]))
        return next(s for s in self._steps if s > step)

    def _after(self, step):
        multiples = max(1, int(_GROWTH * step) // self.every)
        return step + multiples * self.every
