"""The numbers that claims compare: functions of the records of one run."""

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from tfbn.recording import records as records_lib
from tfbn.reproduction.results import layer_at


class Measure(NamedTuple):
    """A number of a run.

    Attributes:
        what: str, its description.
        of: function from a run's records to a float: NaN if nothing was measured,
            infinity if the value was not finite or never reached.
        form: str, the format of the number.
        infinite: str, the text for infinity.
        log: bool, whether the number has no natural scale, so that runs are compared by
            ratios: norms, losses, variances, steps. Default: False.
    """

    what: str
    of: Callable[[Sequence], float]
    form: str = "{:.3g}"
    infinite: str = "not finite"
    log: bool = False

    def text(self, value: float) -> str:
        """Formats a number."""
        if math.isnan(value):
            return "not measured"
        return self.form.format(value) if math.isfinite(value) else self.infinite

    def contrast_text(self, value: float) -> str:
        """Formats a contrast of two runs: the ratio they stand in, or a difference."""
        if self.log:
            return f"{math.exp(value):.3g}"
        if self.form.endswith("%}"):
            return f"{100.0 * value:+.1f}"
        return f"{value:+.3g}"

    @property
    def contrast_unit(self) -> str:
        """What `contrast_text` is in."""
        if self.log:
            return "times"
        return "points" if self.form.endswith("%}") else ""


def over(
    kind: str,
    value: str | Callable[[Mapping], float | None],
    *,
    what: str,
    layer: float | None = None,
    part: tuple[float, float] = (0.0, 1.0),
    steps: tuple[float, float] = (0.0, math.inf),
    reduce: Callable[[Sequence[float]], Any] = np.median,
    undefined: float = math.inf,
    form: str = "{:.3g}",
    log: bool = False,
) -> Measure:
    """Returns the `Measure` of a statistic of a value over a part of the run.

    Args:
        kind: str, the kind of record.
        value: str, the name of a number in the record, or a function of the record.
        what: str, the description of the measure.
        layer: float, the relative depth of the layer whose entry holds the value (see
            `results.layer_at`), or None if the record itself holds it.
        part: (begin, end), the range of steps, as fractions of the last step.
        steps: (begin, end), the range of steps itself. Both limits apply.
        reduce: function from a list of floats to a float. Default: the median.
        undefined: float, replaces values that are not finite; NaN drops them.
        form, log: as in `Measure`.
    """

    def of(records):
        chosen = _entries(records, kind, layer)
        end = max((record["step"] for record in records), default=0)
        low, high = max(part[0] * end, steps[0]), min(part[1] * end, steps[1])
        values = [_value(e, value) for e in chosen if low <= e["step"] <= high]
        values = [v if math.isfinite(v) else undefined for v in values if v is not None]
        values = [v for v in values if not math.isnan(v)]
        return float(reduce(values)) if values else math.nan

    return Measure(what, of, form, log=log)


def geometric_mean(values: Sequence[float]) -> float:
    """Returns the geometric mean of positive numbers; of others as well, 0."""
    if min(values) <= 0.0:
        return 0.0
    return float(np.exp(np.mean(np.log(values))))


def mean_over_layers(
    value: Callable[[Mapping], float | None],
) -> Callable[[Mapping], float | None]:
    """Averages a function of a layer's entry over the layers of a record.

    Entries for which the function returns None are skipped; the average of no entry is
    None as well.
    """

    def of(record):
        values = [v for v in map(value, record["layers"]) if v is not None]
        return float(np.mean(values)) if values else None

    return of


def steps_to(
    accuracy: float,
    *,
    kind: str = "train",
    form: str = "{:.0f}",
    censored: bool = False,
) -> Measure:
    """Returns the `Measure` of the steps to an accuracy.

    If it is never reached that is infinity; or, if `censored`, the last step of the
    run, which the true number exceeds.
    """

    split = "training" if kind == "train" else "test"
    what = f"steps to a {split} accuracy of {accuracy:.0%}"
    return first_step(
        "accuracy", accuracy, kind=kind, what=what, form=form, censored=censored
    )


def first_step(
    value: str,
    least: float,
    *,
    kind: str,
    what: str,
    form: str = "{:.0f}",
    censored: bool = False,
) -> Measure:
    """Returns the `Measure` of the first step at which a value is at least `least`.

    See `steps_to`, which is that of the accuracy.
    """

    def of(records):
        steps, values = records_lib.column(records_lib.select(records, kind), value)
        reached = steps[values >= least]
        if not steps.size:
            return math.nan
        never = float(steps[-1]) if censored else math.inf
        return float(reached[0]) if reached.size else never

    return Measure(what, of, form, "never", log=True)


def _entries(records, kind, layer):
    if layer is None:
        return records_lib.select(records, kind)
    layers = records_lib.by_layer(records, kind)
    return layers[layer_at(layers, layer)] if layers else []


def _value(entry, value):
    return value(entry) if callable(value) else entry.get(value)


# Shared by the experiments.
TEST_ACCURACY = over(
    "eval",
    "accuracy",
    what="test accuracy, mean over the last quarter",
    part=(0.75, 1.0),
    reduce=np.mean,
    form="{:.1%}",
)
TRAINING_ACCURACY = over(
    "train",
    "accuracy",
    what="training accuracy, mean over the last tenth",
    part=(0.9, 1.0),
    reduce=np.mean,
    form="{:.1%}",
)
TRAINING_LOSS = over(
    "train",
    "loss",
    what="training loss, mean over the last tenth",
    part=(0.9, 1.0),
    reduce=np.mean,
    log=True,
)
# The first steps are as unsteady with any layer; a scaled schedule opens the bounds at
# 4 % of the run.
LARGEST_LOSS = over(
    "train",
    "loss",
    what="largest training loss after 6 % of the run",
    part=(0.06, 1.0),
    reduce=max,
    log=True,
)
