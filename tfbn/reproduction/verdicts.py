"""Whether the runs support a claim.

It is decided by Student's t, at 5 % in both directions together, after Holm's
correction for all claims of an experiment from the same source.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tfbn.reproduction import inference
from tfbn.reproduction.claims import Claim
from tfbn.reproduction.inference import Estimate
from tfbn.reproduction.inference import PValues
from tfbn.reproduction.results import Results

HOLDS = "holds"
EQUIVALENT = "equivalent within the margin"
CONTRADICTED = "contradicted"
OPEN = "open"
VERDICTS = (HOLDS, EQUIVALENT, CONTRADICTED, OPEN)

# Two give an interval too, but 12.7 standard errors wide on either side.
LEAST_SEEDS = 3
# With fewer, Student's t leans on the normal distribution of differences; a screen.
ENOUGH_SEEDS = 5


class Judgement(NamedTuple):
    """A claim, what was measured, and the verdict.

    Attributes:
        claim: `Claim`.
        values: a list for each side: a number for each seed.
        contrasts: a number for each seed, or for each pair of runs of one seed.
        estimate: their mean and 95 % interval.
        p: the p-values, before Holm's correction.
        adjusted: float, the p-value in the direction of the data after it.
        sign_flip: float, the same of the exact sign-flip test, before the correction.
        first_seed: int, the first of the seeds that may decide it.
        verdict: str, one of `VERDICTS`.
        alone: str, the verdict if it were the only claim of its experiment.
    """

    claim: Claim
    values: list[list[float]]
    contrasts: list[float]
    estimate: Estimate
    p: PValues
    adjusted: float
    sign_flip: float
    first_seed: int
    verdict: str
    alone: str

    @property
    def num_seeds(self) -> int:
        """The number of seeds that decide the claim: every side has them."""
        return len(self.contrasts)


def judge(claim: Claim, results: Results) -> Judgement:
    """Decides one claim, without correction."""
    return judge_all([claim], results)[0]


def judge_all(claims: Sequence[Claim], results: Results) -> list[Judgement]:
    """Decides the claims of an experiment from its results."""
    measured = [_measured(claim, results) for claim in claims]
    for source in {claim.source for claim in claims}:
        family = [
            i
            for i, claim in enumerate(claims)
            if claim.source == source and results.scale in claim.scales
        ]
        adjusted = inference.holm([measured[i].p.least for i in family])
        for i, p in zip(family, adjusted, strict=True):
            measured[i] = measured[i]._replace(adjusted=p)
    return [_decided(judgement) for judgement in measured]


def _measured(claim, results):
    """Returns a `Judgement` without the correction and the verdicts."""
    values = claim.values(results)
    contrasts = claim.contrasts(values)
    estimate, p, sign_flip = Estimate(*[math.nan] * 3), PValues(1.0, 1.0), 1.0
    if results.scale in claim.scales and _enough(contrasts):
        estimate = inference.estimate(contrasts)
        p = inference.p_values(contrasts, claim.region)
        flips = inference.sign_flip(contrasts, claim.region)
        sign_flip = flips.true if p.true <= p.false else flips.false
    return Judgement(
        claim=claim,
        values=values,
        contrasts=contrasts,
        estimate=estimate,
        p=p,
        adjusted=p.least,
        sign_flip=sign_flip,
        first_seed=claim.first_seed(results.scale),
        verdict=OPEN,
        alone=OPEN,
    )


def _enough(contrasts):
    return len(contrasts) >= LEAST_SEEDS and not any(map(math.isnan, contrasts))


def _decided(judgement):
    claim, p = judgement.claim, judgement.p
    affirmed = EQUIVALENT if claim.similar else HOLDS
    leaning = affirmed if p.true < p.false else CONTRADICTED
    return judgement._replace(
        verdict=leaning if judgement.adjusted <= inference.LEVEL else OPEN,
        alone=leaning if p.least <= inference.LEVEL else OPEN,
    )
