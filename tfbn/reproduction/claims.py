"""What a paper says, and whether runs bear it out.

A verdict counts pairs: every seed of one run against every seed of the other. A claim
holds if it is true of all of them, and does not hold if it is true of none; all else is
not decided. For "a is larger than b" that is: the ranges of the seeds do not overlap.
If there were no difference, three seeds on each side would come out so in one order or
the other by chance in 1 case of 10 (the exact rank test of Mann and Whitney), two seeds
in 1 of 3: so three are the least.
"""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from tfbn.reproduction.measures import Measure
from tfbn.reproduction.results import Results

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
NOT_DECIDED = "not decided at this scale"

LEAST_SEEDS = 3


class Side(NamedTuple):
    """A measure of the runs of a label."""

    label: str
    measure: Measure

    def values(self, results: Results) -> list[float]:
        """One number a seed."""
        return [self.measure.of(run) for run in results.records[self.label]]


class Sweep(NamedTuple):
    """One number of runs that differ in one value.

    Attributes:
        label: str, what the runs are together.
        points: label of a run -> its value, such as a learning rate; labels that are
            not run at a scale are left out.
        of_each: `Measure` of each run.
        measure: `Measure` of them together: its function takes a list of `(value,
            number)`, one a run.
    """

    label: str
    points: Mapping[str, float]
    of_each: Measure
    measure: Measure

    def values(self, results: Results) -> list[float]:
        """One number a seed."""
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
        text: str, the claim, so worded that `is_true` decides it.
        paper: str, the paper's figure: its numbers, or its words.
        sides: one or two, each a `Side` or a `Sweep`.
        is_true: function from a number of each side to bool.
        scales: the scales at which the claim can be decided.
    """

    text: str
    paper: str
    sides: Sequence[Side | Sweep]
    is_true: Callable[..., bool]
    scales: Sequence[str] = ("cpu", "paper")


class Judgement(NamedTuple):
    """A claim and what came out.

    Attributes:
        claim: `Claim`.
        values: one list a side, with one number a seed.
        verdict: str: `HOLDS`, `DOES_NOT_HOLD` or `NOT_DECIDED`.
    """

    claim: Claim
    values: list[list[float]]
    verdict: str


def larger(text, paper, measure, label, than, **options):
    """The claim that `label` has more of a measure than `than`; see `exceeds`."""
    return exceeds(text, paper, Side(label, measure), Side(than, measure), **options)


def exceeds(text, paper, side, than, *, by=1.0, **options):
    """The claim that a side is more than `by` times another."""
    return Claim(text, paper, [side, than], lambda a, b: a > by * b, **options)


def near(text, paper, measure, label, to, *, within, **options):
    """The claim that two labels differ by at most `within`."""
    sides = [Side(label, measure), Side(to, measure)]
    return Claim(text, paper, sides, lambda a, b: abs(a - b) <= within, **options)


def between(text, paper, measure, label, low=-math.inf, high=math.inf, **options):
    """The claim that a label has `low` to `high`."""
    sides = [Side(label, measure)]
    return Claim(text, paper, sides, lambda a: low <= a <= high, **options)


def judge(claim: Claim, results: Results) -> Judgement:
    """Decides a claim by the results."""
    values = [side.values(results) for side in claim.sides]
    return Judgement(claim, values, _verdict(claim, values, results.scale))


def _verdict(claim, values, scale):
    too_few = any(len(seeds) < LEAST_SEEDS for seeds in values)
    unmeasured = any(math.isnan(value) for seeds in values for value in seeds)
    if too_few or unmeasured or scale not in claim.scales:
        return NOT_DECIDED
    first, *second = values
    if second:
        outcomes = {claim.is_true(a, b) for a in first for b in second[0]}
    else:
        outcomes = {claim.is_true(a) for a in first}
    if len(outcomes) > 1:
        return NOT_DECIDED
    return HOLDS if outcomes == {True} else DOES_NOT_HOLD
