"""The claims of a paper, and whether the runs support them.

A verdict compares every seed of one run with every seed of the other. A claim holds if
it is true of all these pairs, does not hold if it is true of none, and is undecided
otherwise. "a is larger than b" therefore holds if the ranges of the seeds do not
overlap. Without a true difference, three seeds a side would separate like this, in
either order, with probability 1/10 (the exact Mann-Whitney test), and two seeds with
probability 1/3; hence the minimum of three.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from tfbn.reproduction.measures import Measure
from tfbn.reproduction.results import Results

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
NOT_DECIDED = "not decided at this scale"

LEAST_SEEDS = 3


class Side(NamedTuple):
    """A measure of the runs with one label."""

    label: str
    measure: Measure

    def values(self, results: Results) -> list[float]:
        """Returns one number for each seed."""
        return [self.measure.of(run) for run in results.records[self.label]]


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
    """A statement about one or two sides.

    Attributes:
        text: str, the claim, worded so that `is_true` decides it.
        paper: str, the paper's numbers, or its words.
        sides: one or two, each a `Side` or a `Sweep`.
        is_true: function from one number of each side to a bool.
        scales: the scales at which the claim can be decided.
    """

    text: str
    paper: str
    sides: Sequence[Side | Sweep]
    is_true: Callable[..., bool]
    scales: Sequence[str] = ("cpu", "paper")


class Judgement(NamedTuple):
    """A claim, the values measured and the verdict."""

    claim: Claim
    values: list[list[float]]  # a list for each side: a number for each seed
    verdict: str  # HOLDS, DOES_NOT_HOLD or NOT_DECIDED


def larger(
    text: str, paper: str, measure: Measure, label: str, than: str, **options: Any
) -> Claim:
    """Claims that `label` has a larger value than `than`; see `exceeds`."""
    return exceeds(text, paper, Side(label, measure), Side(than, measure), **options)


def exceeds(
    text: str,
    paper: str,
    side: Side | Sweep,
    than: Side | Sweep,
    *,
    by: float = 1.0,
    **options: Any,
) -> Claim:
    """Claims that one side is more than `by` times the other."""
    return Claim(text, paper, [side, than], lambda a, b: a > by * b, **options)


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
    """Claims that two labels differ by at most `within`."""
    sides = [Side(label, measure), Side(to, measure)]
    return Claim(text, paper, sides, lambda a, b: abs(a - b) <= within, **options)


def between(
    text: str,
    paper: str,
    measure: Measure,
    label: str,
    low: float = -math.inf,
    high: float = math.inf,
    **options: Any,
) -> Claim:
    """Claims that the value of a label lies between `low` and `high`."""
    sides = [Side(label, measure)]
    return Claim(text, paper, sides, lambda a: low <= a <= high, **options)


def judge(claim: Claim, results: Results) -> Judgement:
    """Decides a claim from the results."""
    values = [side.values(results) for side in claim.sides]
    return Judgement(claim, values, _verdict(claim, values, results.scale))


def _verdict(claim, values, scale):
    too_few = any(len(seeds) < LEAST_SEEDS for seeds in values)
    unmeasured = any(math.isnan(value) for seeds in values for value in seeds)
    if too_few or unmeasured or scale not in claim.scales:
        return NOT_DECIDED
    outcomes = {claim.is_true(*seeds) for seeds in itertools.product(*values)}
    if len(outcomes) > 1:
        return NOT_DECIDED
    return HOLDS if outcomes == {True} else DOES_NOT_HOLD
