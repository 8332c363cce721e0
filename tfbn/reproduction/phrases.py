"""What the pages of a report say in words and numbers, in Markdown and in HTML."""

import math
from collections.abc import Iterable
from collections.abc import Sequence

from tfbn.reproduction import inference
from tfbn.reproduction import verdicts
from tfbn.reproduction.claims import Side
from tfbn.reproduction.claims import Sweep
from tfbn.reproduction.measures import Measure
from tfbn.reproduction.verdicts import Judgement

_LEVEL = f"{100 * (1 - inference.LEVEL):.0f} %"

RULE = f"""Runs of one seed see the same batches and, noise layers apart, begin with the
same weights: a claim about two runs is about their differences, seed by seed, or their
ratios (and means are geometric) where a measure has no natural scale. Student's t
decides it, at a p-value of at most {inference.LEVEL:g} after Holm's correction for the
claims of its experiment (the paper's, ours and its readers' apart): it **holds**, two
runs are **{verdicts.EQUIVALENT}** that it names, or it is **contradicted**; otherwise
it is **open**, with what its own {_LEVEL} interval says in brackets. The exact
sign-flip test beside it assumes no normal distribution, but its p-value is at least 2 /
2^n with n seeds, 0.25 with three and 0.002 with ten; it decides alone where numbers are
infinite or the same in all seeds. Fewer than {verdicts.ENOUGH_SEEDS} seeds are a
screen: verdicts rest on normally distributed differences, and await more seeds. A claim
that was chosen after its runs had been looked at is decided by **fresh** seeds alone,
those from the number that is given on, which were trained after the choice."""

READERS_RULE = f"""Ratios and differences are given with their {_LEVEL} interval; p is
that of the t-test after Holm's correction for these questions."""


def measures_of(judgement: Judgement) -> str:
    """Returns what was measured."""
    named = dict.fromkeys(side.measure.what for side in judgement.claim.sides)
    return "; ".join(named)


def label(judgement: Judgement, side: Side | Sweep) -> str:
    """Returns the name of a side, with its measure if the sides have different ones."""
    several = len({s.measure.what for s in judgement.claim.sides}) > 1
    return f"{side.measure.what}, {side.label}" if several else side.label


def ours(judgement: Judgement) -> str:
    """Returns the measure, then each side's mean and seeds."""
    sides = judgement.claim.sides
    several = len({side.measure.what for side in sides}) > 1
    told = "; ".join(
        f"{label(judgement, side)}: {_numbers(side.measure, values)}"
        for side, values in zip(sides, judgement.values, strict=True)
    )
    return told if several else f"{measures_of(judgement)}. {told}"


def mean(measure: Measure, values: Sequence[float]) -> float:
    """Returns the mean of the seeds that were measured; a geometric one with `log`."""
    measured = [value for value in values if not math.isnan(value)]
    if not measured:
        return math.nan
    if measure.log and all(0.0 < value < math.inf for value in measured):
        return math.exp(sum(map(math.log, measured)) / len(measured))
    return sum(measured) / len(measured)


def contrast(judgement: Judgement) -> str:
    """Returns the difference or ratio of the sides with its interval."""
    if any(map(math.isnan, judgement.contrasts)):
        return "not measured"
    estimate = judgement.estimate
    if math.isnan(estimate.low):
        return _without_interval(judgement)
    centre, low, high = (on_scale(judgement, value) for value in estimate)
    unit = _unit(judgement)
    return f"{centre}{unit} ({low} to {high})"


def on_scale(judgement: Judgement, value: float) -> str:
    """Formats a contrast as the claim's table shows it."""
    measure = judgement.claim.measure
    if len(judgement.claim.sides) > 1:
        return measure.contrast_text(value)
    return measure.text(math.exp(value) if measure.log else value)


def p_value(p: float) -> str:
    """Formats a p-value."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def verdict(judgement: Judgement) -> str:
    """Returns the verdict; of an open claim also what its own interval says."""
    leaning = judgement.alone if judgement.verdict == verdicts.OPEN else None
    if leaning in (None, verdicts.OPEN):
        return f"**{judgement.verdict}**"
    return f"**{judgement.verdict}** (alone: {leaning})"


def seeds(judgement: Judgement) -> str:
    """Returns the number of seeds, and where they begin if not at the first."""
    first = judgement.first_seed
    told = f"{judgement.num_seeds} fresh, from {first} on" * bool(first)
    screen = ", a screen" * (judgement.num_seeds < verdicts.ENOUGH_SEEDS)
    return (told or str(judgement.num_seeds)) + screen


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Returns how many claims got each verdict, those that none got included."""
    given = [judgement.verdict for judgement in judgements]
    return {verdict: given.count(verdict) for verdict in verdicts.VERDICTS}


def of_papers(judgements: Iterable[Judgement], papers: bool) -> list[Judgement]:
    """Returns the judgements on claims of the papers, or on all others."""
    return [j for j in judgements if (j.claim.source == "paper") == papers]


def summary(judgements: Sequence[Judgement]) -> str:
    """Returns a sentence that counts the verdicts."""
    theirs, others = (of_papers(judgements, papers) for papers in (True, False))
    return (
        f"Of {len(theirs)} claims of the papers, {_counted(theirs)}; of {len(others)} "
        f"that are not in the papers, {_counted(others)}."
    )


def alone(judgements: Sequence[Judgement]) -> str:
    """Returns a sentence on the open claims that Holm's correction leaves open."""
    left = [j for j in judgements if j.verdict == verdicts.OPEN != j.alone]
    return (
        f"Alone, without Holm's correction, {len(left)} of the open ones are decided."
    )


def short_counts(judgements: Sequence[Judgement]) -> str:
    """Returns the verdicts given, in a few words."""
    told = [
        f"{count} {'equivalent' if verdict == verdicts.EQUIVALENT else verdict}"
        for verdict, count in counts(judgements).items()
        if count
    ]
    return ", ".join(told) or "–"


def _counted(judgements):
    *first, last = [
        _verb(verdict, count) for verdict, count in counts(judgements).items()
    ]
    return f"{', '.join(first)} and {last}"


def _verb(verdict, count):
    if verdict == verdicts.HOLDS:
        return f"{count} {'holds' if count == 1 else 'hold'}"
    return f"{count} {'is' if count == 1 else 'are'} {verdict}"


def _unit(judgement):
    unit = judgement.claim.measure.contrast_unit
    return f" {unit}" if unit and len(judgement.claim.sides) > 1 else ""


def _without_interval(judgement):
    contrasts = judgement.contrasts
    if not all(map(math.isfinite, contrasts)):
        return "no interval: not finite"
    if len(contrasts) < verdicts.LEAST_SEEDS or judgement.p.least == 1.0:
        return "no interval"
    told = on_scale(judgement, judgement.estimate.mean)
    return f"{told}{_unit(judgement)}, the same in all seeds"


def _numbers(measure, values):
    texts = [measure.text(value) for value in values]
    if len(set(texts)) == 1:
        return texts[0]
    return f"{measure.text(mean(measure, values))} ({', '.join(texts)})"
