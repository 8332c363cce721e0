"""Markdown tables, aligned so that they read well as plain text."""

import math
import re
from collections.abc import Sequence

MISSING = "–"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns an aligned table; columns of numbers are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    right = [
        bool(rows) and all(_is_number(row[i]) for row in rows)
        for i in range(len(header))
    ]
    rule = [
        "-" * (width - 1) + ":" if to_right else "-" * width
        for width, to_right in zip(widths, right, strict=True)
    ]
    lines = [_line(header, widths, right), _line(rule, widths, right)]
    return "\n".join(lines + [_line(row, widths, right) for row in rows])


def number(value: float, digits: int = 3) -> str:
    """Formats `value` to significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def _line(cells, widths, right):
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _is_number(cell):
    return cell == MISSING or bool(_NUMBER.fullmatch(cell))


# A number, possibly with an exponent, or with quartiles in brackets.
_NUMBER = re.compile(r"-?([\d.]+(e[+-]\d+)?|inf|nan)( \(.*\))?")
