"""Results of scripts/benchmark.py as Markdown, which reads well as plain text too."""

import math
import re

from _list_flags import shape_text

from _benchmark import candidates

_MISSING = "–"


def render(results):
    """All that was measured, section by section."""
    sections = results["sections"].items()
    parts = [environment(results), *(section(name, rows) for name, rows in sections)]
    return "\n\n".join(parts)


def environment(results):
    """Date, machine, versions and rounds, in one line."""
    machine, versions = results["machine"], results["versions"]
    devices = ", ".join(machine["accelerators"]) or "no accelerator"
    onednn = "with" if versions["onednn"] else "without"
    return (
        f"{results['date']}: {machine['cpu']}, {machine['cores']} cores, {devices}, "
        f"{machine['platform']}; Python {versions['python']}, TensorFlow "
        f"{versions['tensorflow']} ({onednn} oneDNN), Keras {versions['keras']}, tfbn "
        f"{versions['tfbn']}, NumPy {versions['numpy']}; "
        f"{results['settings']['rounds']} rounds."
    )


def section(name, rows):
    """Heading, note and table of one section."""
    return SECTIONS[name](rows)


def table(header, rows):
    """An aligned table of strings; numbers stand to the right of their column."""
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


def number(value, digits=3):
    """`value` to some significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def with_quartiles(ratio, decimals=2):
    """A median and its quartiles, such as `3.41 (3.30 to 3.52)`."""
    if ratio["median"] is None:
        return _MISSING
    median, first, third = (
        f"{value:.{decimals}f}" for value in (ratio["median"], *ratio["quartiles"])
    )
    return f"{median} ({first} to {third})"


def _line(cells, widths, right):
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _is_number(cell):
    return cell == _MISSING or bool(_NUMBER.fullmatch(cell))


# With an exponent, or with quartiles.
_NUMBER = re.compile(r"-?[\d.]+(e[+-]\d+)?( \(.*\))?")


def _times(title, note, rows):
    columns = ["keras_bn", "tfbn_bn", "keras_renorm", "tfbn_renorm"]
    ratios = {
        "keras_bn/tfbn_bn": "Keras / tfbn BN",
        "keras_renorm/tfbn_renorm": "Keras / tfbn renorm",
        "tfbn_renorm/tfbn_bn": "renorm / BN",
    }
    header = ["shape", "dtype", "mode", "harness"]
    header += [candidates.NAMES[name] for name in columns] + list(ratios.values())
    cells = [
        [
            *_case(row),
            number(row["harness_ms"]),
            *(number(row["net_ms"][name]) for name in columns),
            *(with_quartiles(row["ratios"][ratio]) for ratio in ratios),
        ]
        for row in rows
    ]
    return f"## {title}\n\n{note}\n\n{table(header, cells)}"


def _layers(rows):
    note = (
        "Milliseconds of forward and backward, less those of the harness, which is the "
        "same without the layer. Under XLA it writes the gradient of x, which with a "
        "layer the layer does: ratios are too large there by that. Ratios: median and "
        "quartiles of the rounds."
    )
    return _times("A layer in training", note, rows)


def _inference(rows):
    note = (
        "Milliseconds of forward, less those of the harness, a call that returns one "
        "element. Ratios: median and quartiles of the rounds."
    )
    return _times("A layer in inference", note, rows)


def _exactness(rows):
    note = (
        "max abs(error) / max abs(result) against float64 on the same data, of unit "
        "variance around the offset, and that of the float64 result once it is rounded "
        "to the dtype."
    )
    columns = {
        "Keras BN": ("errors", "keras_bn"),
        "tfbn BN": ("errors", "tfbn_bn"),
        "rounding": ("rounding", "bn"),
        "Keras renorm": ("errors", "keras_renorm"),
        "tfbn renorm": ("errors", "tfbn_renorm"),
        "rounding ": ("rounding", "renorm"),
    }
    cells = [
        [
            *_case(row),
            f"{row['offset']:g}",
            row["quantity"],
            *(f"{row[kind][name]:.1e}" for kind, name in columns.values()),
        ]
        for row in rows
    ]
    header = ["shape", "dtype", "mode", "offset", "of", *columns]
    return f"## Exactness\n\n{note}\n\n{table(header, cells)}"


def _network(rows):
    cells = []
    for row in rows:
        for norm, ms in row["ms"].items():
            over = row["percent_over_none"].get(norm)
            more = _MISSING if over is None else with_quartiles(over, decimals=1)
            cells.append([row["dtype"], _norm(norm), number(ms), more])
    note = "A training step with SGD. Percentages: median and quartiles of the rounds."
    header = ["dtype", "norm", "ms", "% more than none"]
    return f"## VGG-A: time\n\n{note}\n\n{table(header, cells)}"


def _memory(rows):
    cells = [
        [
            row["dtype"],
            _norm(norm),
            *(f"{peaks[name]:.0f}" for name in ("start_mib", "peak_mib")),
            f"{peaks['peak_mib'] - peaks['start_mib']:.0f}",
        ]
        for row in rows
        for norm, peaks in row["norms"].items()
    ]
    note = (
        "MiB of resident memory at most, each norm in a process of its own: when the "
        "model is built, and after the training steps."
    )
    header = ["dtype", "norm", "built", "trained", "difference"]
    return f"## VGG-A: memory\n\n{note}\n\n{table(header, cells)}"


def _case(row):
    return [shape_text(row["shape"]), row["dtype"], row["mode"]]


def _norm(norm):
    return candidates.NAMES.get(norm, norm)


SECTIONS = {
    "layers": _layers,
    "inference": _inference,
    "exactness": _exactness,
    "network": _network,
    "memory": _memory,
}
