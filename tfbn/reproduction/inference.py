"""Statistics of one number a seed: intervals, exact tests, Holm's correction.

Everything is about contrasts: a number for each seed, such as the difference of two
runs of that seed. A claim says that their
mean lies in a `Region`. Only this module needs scipy, at its first t-test.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
# Beyond so many seeds the sign flips are too many to list.
_MOST_EXACT = 16


class Region(NamedTuple):
    """The contrasts for which a claim is true: those between two bounds."""

    low: float = -math.inf
    high: float = math.inf


class Estimate(NamedTuple):
    """A mean with its confidence interval, by Student's t; NaN without a t-test."""

    mean: float
    low: float
    high: float


class PValues(NamedTuple):
    """The two-sided p-values of a claim's two ways to be decided."""

    true: float
    false: float

    @property
    def least(self) -> float:
        """That of the direction in which the data point."""
        return min(self)


# (contrasts, bound, above) -> one-sided p of "the mean is above (below) the bound".
_Test = Callable[[np.ndarray, float, bool], float]


def check_scipy() -> None:
    """Checks that the claims can be judged.

    Raises:
        ValueError: if scipy is not installed.
    """
    if importlib.util.find_spec("scipy") is None:
        raise ValueError(
            "Judging claims needs scipy, which is not installed: run pip install "
            '"tfbn[reproduce]".'
        )


def has_t_test(contrasts: Sequence[float] | np.ndarray) -> bool:
    """Whether Student's t applies: the contrasts are finite, and not all the same."""
    values = np.asarray(contrasts, float)
    return bool(
        values.size > 1
        and np.isfinite(values).all()
        # Equal but for rounding, as the logarithms of equal ratios are.
        and np.ptp(values) > 1e-9 * np.abs(values).max()
    )


def estimate(contrasts: Sequence[float], level: float = LEVEL) -> Estimate:
    """Returns the mean of the contrasts with its interval of confidence 1 - level."""
    values = np.asarray(contrasts, float)
    if not has_t_test(values):
        finite = values.size and np.isfinite(values).all()
        return Estimate(float(values.mean()) if finite else math.nan, *2 * [math.nan])
    from scipy import special

    mean = values.mean()
    half = special.stdtrit(values.size - 1, 1.0 - level / 2.0) * _error(values)
    return Estimate(float(mean), float(mean - half), float(mean + half))


def p_values(contrasts: Sequence[float], region: Region) -> PValues:
    """Returns those of the t-test, or of the sign-flip test where there is none.

    `true` is at most `LEVEL` if and only if the 95 % interval lies within the region,
    and `false` if and only if it lies outside.
    """
    if has_t_test(contrasts):
        return _p_values(_t_test, contrasts, region)
    return sign_flip(contrasts, region)


def sign_flip(contrasts: Sequence[float], region: Region) -> PValues:
    """Returns the p-values of the exact sign-flip test.

    Its null hypothesis is that each contrast is as likely on one side of the bound as
    at the same distance on the other. With n seeds none is below 2 / 2^n. Where a
    contrast is infinite, only the signs count.
    """
    return _p_values(_sign_flip_test, contrasts, region)


def holm(p: Sequence[float]) -> list[float]:
    """Returns the p-values, adjusted by Holm's method for being looked at together."""
    adjusted, least = [1.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = least
    return adjusted


def _p_values(test: _Test, contrasts, region):
    """Doubles one-sided p-values: a claim may be decided either way."""
    values = np.asarray(contrasts, float)
    low, high = region
    inside = [test(values, low, True)] if low > -math.inf else []
    inside += [test(values, high, False)] if high < math.inf else []
    outside = [test(values, low, False)] if low > -math.inf else []
    outside += [test(values, high, True)] if high < math.inf else []
    # True if above the one and below the other; false if beyond either.
    doubled = (2.0 * max(inside), 2.0 * min(outside))
    return PValues(*(min(1.0, p) for p in doubled))


def _t_test(values, bound, above):
    from scipy import special

    t = (values.mean() - bound) / _error(values)
    return float(special.stdtr(values.size - 1, -t if above else t))


def _error(values):
    """The standard error of the mean."""
    return values.std(ddof=1) / math.sqrt(values.size)


def _sign_flip_test(values, bound, above):
    distances = values - bound if above else bound - values
    if not np.isfinite(distances).all():
        distances = np.sign(np.nan_to_num(distances, nan=0.0))
    sums = _signs(distances.size) @ np.abs(distances)
    # Sums of the same numbers in another order may differ by rounding.
    least = distances.sum() - 1e-9 * np.abs(distances).sum()
    return float(np.mean(sums >= least))


@functools.lru_cache(maxsize=4)
def _signs(size):
    """All rows of signs; of more than can be listed, random ones and the first."""
    if size <= _MOST_EXACT:
        bits = np.arange(2**size)[:, None] >> np.arange(size) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (2**_MOST_EXACT, size))
        bits[0] = 1
    return 2.0 * bits - 1.0
