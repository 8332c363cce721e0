"""Results of scripts/scaling.py as Markdown."""

from tfbn import environment
from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table

_NOTE = """\
Milliseconds of a training step: a network of {layers} layers of {units} units, whose
normalisation layers are synchronized; medians of {rounds} rounds of {steps} steps, in
which all rows take turns. The replicas are logical CPUs of one process, or processes of
one replica each that talk over the loopback interface, and all of them share the same
cores: a row can be no faster than one device with the same batch; what it takes more
is overhead. CPU is the processor time of all processes, which other work on the machine
changes less than the time by the clock; processes that wait for each other spend some
of it. "Local batch" is one device with the batch of one replica: on machines of their
own the replicas would take that long, and the messages over a network."""


def render(results):
    """All that was measured."""
    settings = results["settings"]
    note = _NOTE.format(**settings)
    parts = [f"# Scaling\n\n{environment.described(results)}. {settings['remark']}"]
    parts += [note, _times(results["rows"]), _MESSAGES, _sent(results["rows"])]
    return "\n\n".join(part.rstrip() for part in parts)


_MESSAGES = """\
## Messages

What a replica sends in a step: collective operations, and bytes of their operands,
counted in the graph and by the formula of [distributed.md](distributed.md): two
messages for each layer, one for all gradients, one for the loss."""


def _times(rows):
    header = ["norm", "replicas", "batch", "ms", "one device", "local batch", "% over"]
    header += ["CPU ms", "one device CPU"]
    cells = []
    for row in rows:
        over = 100.0 * (row["ms"] / row["one_device_ms"] - 1.0)
        alone = row["kind"] == "one device"
        cells.append(
            [
                row["norm"],
                _where(row),
                str(row["batch_size"]),
                number(row["ms"]),
                MISSING if alone else number(row["one_device_ms"]),
                MISSING if alone else number(row["local_batch_ms"]),
                MISSING if alone else f"{over:.0f}",
                number(row["cpu_ms"]),
                MISSING if alone else number(row["one_device_cpu_ms"]),
            ]
        )
    return f"## Times\n\n{table(header, cells)}"


def _sent(rows):
    header = ["norm", "replicas", "operations", "formula", "bytes", "formula "]
    cells = {}
    for row in rows:
        if row["kind"] != "one device":
            counted, expected = row["sent"]["counted"], row["sent"]["expected"]
            cells[row["norm"], _where(row)] = [
                f"{value:g}" if value < 1000 else f"{value:.0f}"
                for pair in zip(counted, expected, strict=True)
                for value in pair
            ]
    return table(header, [[*key, *value] for key, value in cells.items()])


def _where(row):
    kind = row["kind"]
    return kind if kind == "one device" else f"{row['replicas']} {kind}"
