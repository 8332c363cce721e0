"""Small drawings for a table in HTML: a dot for each seed, an interval."""

import math
from collections.abc import Sequence

from tfbn.reproduction.inference import Estimate
from tfbn.reproduction.inference import Region

_WIDTH, _EDGE = 120, 6


def strips(sides: Sequence[Sequence[float]], *, log: bool) -> list[str]:
    """Returns an SVG for each side: its seeds on an axis that the sides share.

    Numbers that are not finite are drawn as crosses on the right.
    """
    numbers = [[_scaled(value, log) for value in side] for side in sides]
    place = _axis([v for side in numbers for v in side])
    return [
        _svg(12, "".join(_seed(place, value) for value in side), "seeds")
        for side in numbers
    ]


def interval(region: Region, estimate: Estimate, *, has_zero: bool) -> str:
    """Returns an SVG of an interval above the region in which the claim is true.

    A thin line marks zero, where two sides are equal. Nothing is drawn where there is
    no interval.
    """
    if math.isnan(estimate.low):
        return ""
    bounds = [bound for bound in region if math.isfinite(bound)]
    place = _axis([*estimate, *bounds, *[0.0] * has_zero])
    left = place(region.low) if math.isfinite(region.low) else 0.0
    right = place(region.high) if math.isfinite(region.high) else _WIDTH
    parts = [
        f"<rect class='true' x='{left:.1f}' width='{right - left:.1f}' height='14'/>"
    ]
    if has_zero:
        zero = f"x1='{place(0.0):.1f}' x2='{place(0.0):.1f}'"
        parts.append(f"<line class='zero' {zero} y1='0' y2='14'/>")
    ends = f"x1='{place(estimate.low):.1f}' x2='{place(estimate.high):.1f}'"
    parts.append(f"<line class='range' {ends} y1='7' y2='7'/>")
    parts.append(f"<circle cx='{place(estimate.mean):.1f}' cy='7' r='3.5'/>")
    return _svg(14, "".join(parts), "interval")


def _scaled(value, log):
    if not log or not math.isfinite(value):
        return value
    return math.log(value) if value > 0.0 else -math.inf


def _axis(values):
    """Returns a function from a number to its place."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span, room = high - low, _WIDTH - 2 * _EDGE
    if not span:
        return lambda value: _WIDTH / 2
    return lambda value: _EDGE + room * (value - low) / span


def _seed(place, value):
    if math.isnan(value):
        return ""
    if math.isinf(value):
        x = _WIDTH - _EDGE if value > 0.0 else _EDGE
        return f"<path class='beyond' d='M{x - 3} 3l6 6m0 -6l-6 6'/>"
    return f"<circle cx='{place(value):.1f}' cy='6' r='3'/>"


def _svg(height, content, name):
    return (
        f"<svg class='{name}' width='{_WIDTH}' height='{height}' "
        f"viewBox='0 0 {_WIDTH} {height}' aria-hidden='true'>{content}</svg>"
    )
