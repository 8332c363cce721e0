"""The core of the comparison: one line for each library."""

from _compare import answers

from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table

MODES = {
    "eager": "eager",
    "function": "tf.function",
    "jit": "jit",
    "contiguous": "channels first",
    "compile": "torch.compile",
}
_FAR = 1e4  # the mean of the data of the errors
_KINDS = ("bn", "renorm")


def table_of(sections):
    """A Markdown table of times and errors, each library in its fastest run.

    Args:
        sections: dict with `times` and `errors`, of `layers`.
    """
    times = {
        (row["kind"], row["candidate"]): row["least_ratio"]
        for row in sections["times"]
        if "least_ratio" in row
    }
    errors = {
        (row["kind"], row["candidate"]): row
        for row in sections["errors"]
        if row["offset"] == _FAR and "error" not in row
    }
    libraries = dict.fromkeys(name.partition(":")[0] for _, name in times)
    cells = []
    for library in libraries:
        cells.append([answers.LIBRARIES[library]])
        for kind in _KINDS:
            cells[-1] += _cells(library, kind, times, errors)
    header = ["", "BatchNorm: time", "its errors", "renorm: time", "its errors"]
    return table(header, cells)


def _cells(library, kind, times, errors):
    found = {
        name: ratio
        for (of, name), ratio in times.items()
        if of == kind and name.partition(":")[0] == library
    }
    if not found:
        return [MISSING, MISSING]
    name = min(found, key=found.__getitem__)
    run = MODES[name.partition(":")[2]]
    row = errors[kind, name]
    worst = [_error(row[quantity]) for quantity in ("output", "gradient")]
    return [f"{number(found[name])} ({run})", ", ".join(worst)]


def _error(value):
    return "NaN" if value is None else f"{value:.0e}"
