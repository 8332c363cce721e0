"""Numbers that claims compare: functions of one run's records."""

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfbn.recording import records as records_lib
from tfbn.reproduction.results import layer_at


class Measure(NamedTuple):
    """A number of a run.

    Attributes:
        what: str, in words.
        of: function from a run's records to a float: NaN where nothing was measured,
            infinity where it was not finite or never came.
        form: str, the format of such a number.
        infinite: str, what infinity means.
    """

    what: str
    of: Callable[[Sequence[Mapping]], float]
    form: str = "{:.3g}"
    infinite: str = "not finite"

    def text(self, value: float) -> str:
        """A number as text."""
        if math.isnan(value):
            return "not measured"
        return self.form.format(value) if math.isfinite(value) else self.infinite


def over(
    kind,
    value,
    *,
    what,
    layer=None,
    part=(0.0, 1.0),
    reduce=np.median,
    undefined=math.inf,
    form="{:.3g}",
):
    """A statistic of a value over a part of the run.

    Args:
        kind: str, kind of record.
        value: str, the name of a number in it; or a function of the record.
        what: str, what it is, in words.
        layer: float, the share of the depth at which the layer lies whose entry has the
            value (see `results.layer_at`), or None: the record itself has it.
        part: (begin, end), which records count, in shares of the last step.
        reduce: function from an array to a float. Default: the median.
        undefined: float, what stands for a value that is not finite; NaN leaves it out.
        form: str, format.
    """

    def of(records):
        chosen = _entries(records, kind, layer)
        end = max((record["step"] for record in records), default=0)
        low, high = part[0] * end, part[1] * end
        values = [_value(e, value) for e in chosen if low <= e["step"] <= high]
        values = [v if math.isfinite(v) else undefined for v in values if v is not None]
        values = [v for v in values if not math.isnan(v)]
        return float(reduce(values)) if values else math.nan

    return Measure(what, of, form)


def mean_over_layers(value):
    """Makes of a function of a layer's entry one of a record: the mean over layers.

    Entries for which it is None are left out, records without any too.
    """

    def of(record):
        values = [value(entry) for entry in record["layers"]]
        values = [v for v in values if v is not None]
        return float(np.mean(values)) if values else None

    return of


def steps_to(accuracy, *, kind="train", form="{:.0f}"):
    """Steps until an accuracy was reached; infinity where it never was."""

    def of(records):
        steps, values = records_lib.column(
            records_lib.select(records, kind), "accuracy"
        )
        reached = steps[values >= accuracy]
        if not steps.size:
            return math.nan
        return float(reached[0]) if reached.size else math.inf

    split = "training" if kind == "train" else "test"
    return Measure(f"steps to a {split} accuracy of {accuracy:.0%}", of, form, "never")


def _entries(records, kind, layer):
    if layer is None:
        return records_lib.select(records, kind)
    layers = records_lib.by_layer(records, kind)
    return layers[layer_at(layers, layer)] if layers else []


def _value(entry, value):
    return value(entry) if callable(value) else entry.get(value)


# Of all experiments.
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
)
