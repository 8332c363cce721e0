"""Results of scripts/scaling.py as Markdown."""

from _scaling import cells

from tfbn import environment
from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table


def render(results):
    """All that was measured."""
    parts = [
        environment.described(results) + f"; {results['settings']['rounds']} rounds."
    ]
    for network in results["settings"]["networks"]:
        rows = [row for row in results["rows"] if row["network"] == network]
        parts += [messages(rows), strong(rows), weak(rows)]
    return "\n\n".join(part for part in parts if part)


def messages(rows):
    """What a replica sends in a step of strong scaling: counted, foretold, observed."""
    header = ["replicas", "norm", "messages", "bytes", "foretold", "on the wire"]
    lines = []
    for row in _of(rows, cells.STRONG_BATCH):
        if row["number"] == 1:
            continue
        foretold = [sum(part) for part in zip(*row["foretold"].values(), strict=True)]
        count, size = row["counted"]
        lines.append(
            [
                _place(row),
                row["norm"],
                str(count),
                MISSING if size is None else str(size),
                "{} of {}".format(*foretold),
                _wire(row),
            ]
        )
    return lines and table(header, lines)


def strong(rows):
    """Milliseconds more than one device for the same batch, whatever the replicas."""
    return _times(_of(rows, cells.STRONG_BATCH))


def weak(rows):
    """The same, with as many examples for each replica."""
    return _times(
        [
            row
            for row in rows
            if row["number"] == 1
            or row["batch_size"] == cells.WEAK_BATCH * row["number"]
        ]
    )


def _of(rows, batch_size):
    return [row for row in rows if row["batch_size"] == batch_size]


def _times(rows):
    """A line for each place and batch, a column for each norm."""
    lines: dict[tuple, dict] = {}
    for row in rows:
        line = lines.setdefault((_place(row), row["batch_size"]), {})
        line[row["norm"]] = _time(row)
    header = ["where", "batch", *cells.NORMS]
    return table(
        header,
        [
            [place, str(size), *(line.get(norm, MISSING) for norm in cells.NORMS)]
            for (place, size), line in lines.items()
        ],
    )


def _time(row):
    if cells.Place(row["kind"], row["number"]) == cells.ONE:
        return f"{number(row['ms'])} ms"
    return f"{row['more_ms']:+.1f} ({number(row['ratio']['median'])})"


def _wire(row):
    """All that the machine's own network carried, over what the messages need there."""
    found = row["loopback_bytes"]
    return MISSING if found is None else f"{found / 1000:.0f} kB"


def _place(row):
    return str(cells.Place(row["kind"], row["number"]))
