"""The claims of a paper, in a form that runs can decide.

Runs of one seed see the same batches and begin with the same weights (except for those
with noise layers, which draw seeds of their own from the same generator). They are a
pair, and a claim about two runs is one about their differences: of the logarithms where
a measure has no natural scale, such as a norm. A claim is the `Region` that it says
their mean lies in.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from tfbn.reproduction.inference import Region
from tfbn.reproduction.measures import Measure
from tfbn.reproduction.results import Results

# What stands for the paper's words in a claim that it does not make.
OURS = "not in the paper"
READERS = "not in the paper; a question of its readers"

# What some claims measure was revised with the records of the seeds 0 to 2 of the scale
# cpu at hand. This is the first seed that was trained later.
FRESH = {"cpu": 3}


class Side(NamedTuple):
    """A measure of the runs with one label.

    Attributes:
        label: str.
        measure: `Measure`.
        derived: function from a run's records and its seed to the records that are
            measured, or None: the run's own.
    """

    label: str
    measure: Measure
    derived: Callable[[Sequence, int], Sequence] | None = None

    @property
    def labels(self) -> list[str]:
        """The labels of the runs."""
        return [self.label]

    def values(self, results: Results) -> list[float]:
        """Returns one number for each seed."""
        runs = results.records[self.label]
        if self.derived is not None:
            seeds = results.seeds_of(self.label)
            runs = [self.derived(*pair) for pair in zip(runs, seeds, strict=True)]
        return [self.measure.of(run) for run in runs]


class Sweep(NamedTuple):
    """One number from several runs that differ in a single value.

    Attributes:
        label: str, the name of the sweep.
        points: label of a run -> its value, such as a learning rate. Labels that are
            not run at the scale in question are skipped.
        of_each: `Measure` of each run.
        measure: `Measure` of all runs together: its function takes a list of `(value,
            number)` pairs, one for each run.
    """

    label: str
    points: Mapping[str, float]
    of_each: Measure
    measure: Measure

    @property
    def labels(self) -> list[str]:
        """The labels of the runs, also of those that are not run at every scale."""
        return [*self.points]

    def values(self, results: Results) -> list[float]:
        """Returns one number for each seed."""
        labels = [label for label in self.points if label in results.records]
        numbers = [Side(label, self.of_each).values(results) for label in labels]
        values = [self.points[label] for label in labels]
        return [
            self.measure.of([*zip(values, seed, strict=True)])
            for seed in zip(*numbers, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement about the mean of one side, or of the difference of two.

    Attributes:
        text: str, the claim.
        paper: str, the paper's numbers, or its words; or `OURS` or `READERS`.
        sides: one or two, each a `Side` or a `Sweep`; of two, the claim is about the
            first one minus the second one.
        region: `Region` of the contrasts for which the claim is true: of differences,
            or of logarithms if the first side's measure has `log`.
        similar: bool, whether the claim is that two sides differ by no more than a
            margin: then it is not said to hold but to be equivalent.
        scales: the scales at which the claim can be decided.
        seeds_from: scale -> the first seed that decides it, where that is not its runs'
            first. Of a claim that was chosen with records at hand, those of smaller
            seeds are what suggested it, and cannot confirm it.
    """

    text: str
    paper: str
    sides: Sequence[Side | Sweep]
    region: Region
    similar: bool = False
    scales: Sequence[str] = ("cpu", "paper")
    seeds_from: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> str:
        """Whose claim it is: `OURS`, `READERS` or "paper"."""
        return self.paper if self.paper in (OURS, READERS) else "paper"

    @property
    def measure(self) -> Measure:
        """The measure of the first side."""
        return self.sides[0].measure

    def first_seed(self, scale: str) -> int:
        """The first seed that decides it at a scale."""
        return self.seeds_from.get(scale, 0)

    def values(self, results: Results) -> list[list[float]]:
        """Returns a list for each side: a number for each seed that all sides have."""
        labels = {label for side in self.sides for label in side.labels}
        shared = set.intersection(
            *(set(results.seeds_of(label)) for label in labels & {*results.records})
        )
        first = self.first_seed(results.scale)
        kept = results.only({seed for seed in shared if seed >= first})
        return [side.values(kept) for side in self.sides]

    def contrasts(self, values: Sequence[Sequence[float]]) -> list[float]:
        """Returns a number a seed, of the values of the sides; NaN if not measured."""
        numbers = [[self._scaled(value) for value in seeds] for seeds in values]
        if len(numbers) == 1:
            return numbers[0]
        # Both infinite: never reached on either side, which is no difference.
        return [0.0 if a == b else a - b for a, b in zip(*numbers, strict=True)]

    def _scaled(self, value):
        if not self.measure.log or math.isnan(value):
            return value
        return math.log(value) if value > 0.0 else -math.inf


def larger(
    text: str, paper: str, measure: Measure, label: str, than: str, **options: Any
) -> Claim:
    """Claims that `label` has a larger value than `than`; see `exceeds`."""
    return exceeds(text, paper, Side(label, measure), Side(than, measure), **options)


def smaller(
    text: str, paper: str, measure: Measure, label: str, than: str, **options: Any
) -> Claim:
    """Claims that `label` has a smaller value than `than`, with the contrast of it."""
    sides = Side(label, measure), Side(than, measure)
    return Claim(text, paper, sides, Region(high=0.0), **options)


def exceeds(
    text: str,
    paper: str,
    side: Side | Sweep,
    than: Side | Sweep,
    *,
    by: float | None = None,
    **options: Any,
) -> Claim:
    """Claims that one side is larger than the other.

    `by` is a factor for a measure with `log` (default: 1), a difference for any other
    (default: 0).
    """
    margin = 0.0 if by is None else _margin(side.measure, by)
    return Claim(text, paper, [side, than], Region(low=margin), **options)


def near(
    text: str,
    paper: str,
    measure: Measure,
    label: str,
    to: str,
    *,
    within: float,
    **options: Any,
) -> Claim:
    """Claims that two labels differ by less than `within`, as `by` in `exceeds`."""
    sides = [Side(label, measure), Side(to, measure)]
    margin = _margin(measure, within)
    return Claim(text, paper, sides, Region(-margin, margin), True, **options)


def not_below(
    text: str,
    paper: str,
    side: Side | Sweep,
    than: Side | Sweep,
    *,
    within: float,
    **options: Any,
) -> Claim:
    """Claims that a side is at most `within` below another (non-inferiority).

    `within` is as `by` in `exceeds`.
    """
    region = Region(-_margin(side.measure, within))
    return Claim(text, paper, [side, than], region, **options)


def not_above(
    text: str,
    paper: str,
    side: Side | Sweep,
    than: Side | Sweep,
    *,
    within: float,
    **options: Any,
) -> Claim:
    """Claims that a side is at most `within` above another."""
    region = Region(high=_margin(side.measure, within))
    return Claim(text, paper, [side, than], region, **options)


def not_less(
    text: str, paper: str, measure: Measure, label: str, than: str, **options: Any
) -> Claim:
    """Claims `not_below` of two labels."""
    sides = Side(label, measure), Side(than, measure)
    return not_below(text, paper, *sides, **options)


def not_more(
    text: str, paper: str, measure: Measure, label: str, than: str, **options: Any
) -> Claim:
    """Claims `not_above` of two labels."""
    sides = Side(label, measure), Side(than, measure)
    return not_above(text, paper, *sides, **options)


def between(
    text: str,
    paper: str,
    measure: Measure,
    label: str,
    low: float = -math.inf,
    high: float = math.inf,
    **options: Any,
) -> Claim:
    """Claims that the mean of a label lies between `low` and `high`."""
    if measure.log:
        low = math.log(low) if low > 0.0 else -math.inf
        high = math.log(high)
    return Claim(text, paper, [Side(label, measure)], Region(low, high), **options)


def _margin(measure, by):
    return math.log(by) if measure.log else by
