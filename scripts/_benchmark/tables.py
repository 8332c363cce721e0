"""Results of scripts/benchmark.py as Markdown, which reads well as plain text too."""

import collections

from _benchmark import candidates

from tfbn import environment as environment_lib
from tfbn.commands.list_flags import shape_text
from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table


def render(results):
    """All that was measured, section by section."""
    sections = results["sections"].items()
    parts = [head(results), *(section(name, rows) for name, rows in sections)]
    return "\n\n".join(parts)


def head(results):
    """A heading; date, machine, versions and rounds in one line."""
    rounds = results["settings"]["rounds"]
    return f"# Benchmarks\n\n{environment_lib.described(results)}; {rounds} rounds."


def section(name, rows):
    """Heading, note and table of one section."""
    return SECTIONS[name](rows)


def with_quartiles(ratio, decimals=2):
    """A median and its quartiles, such as `3.41 (3.30 to 3.52)`."""
    if ratio["median"] is None:
        return MISSING
    median, first, third = (
        f"{value:.{decimals}f}" for value in (ratio["median"], *ratio["quartiles"])
    )
    return f"{median} ({first} to {third})"


def _times(title, note, rows):
    columns = {**candidates.NAMES, candidates.FUSED: "tf_keras BN"}
    ratios = {
        "keras_bn/tfbn_bn": "Keras / tfbn BN",
        f"{candidates.FUSED}/tfbn_bn": "tf_keras / tfbn BN",
        "keras_renorm/tfbn_renorm": "Keras / tfbn renorm",
        "tfbn_bn/copy": "tfbn BN in copies",
    }
    header = ["shape", "dtype", "mode", "harness", "copy"]
    header += [*columns.values(), *ratios.values()]
    cells = [
        [
            *_case(row),
            *(_number_or_missing(row.get(key)) for key in ("harness_ms", "copy_ms")),
            *(_number_or_missing(row["net_ms"].get(name)) for name in columns),
            *(_ratio_or_missing(row["ratios"].get(ratio)) for ratio in ratios),
        ]
        for row in rows
    ]
    return f"## {title}\n\n{note}\n\n{table(header, cells)}"


def _number_or_missing(value):
    return MISSING if value is None else number(value)


def _ratio_or_missing(ratio):
    return MISSING if ratio is None else with_quartiles(ratio)


def _layers(rows):
    note = (
        "Milliseconds of forward and backward, less those of the harness, which is the "
        "same without the layer. Under XLA it writes the gradient of x, which with a "
        "layer the layer does: ratios are too large there by that. Ratios: median and "
        "quartiles of the rounds. tf_keras's layer runs TensorFlow's fused kernel on "
        "inputs of four axes, which is not exact (see below and comparison.md). A copy "
        "reads the input and writes as much into new memory: two passes. Three passes "
        "forward and five backward, with two tensors written, are the least: four "
        "copies."
    )
    return _times("A layer in training", note, rows)


def _inference(rows):
    note = (
        "Milliseconds of forward, less those of the harness, a call that returns one "
        "element. Ratios: median and quartiles of the rounds. The least is one copy."
    )
    return _times("A layer in inference", note, rows)


def _small(rows):
    ratios = {
        "tfbn_bn/keras_bn": "tfbn / Keras BN",
        "tfbn_renorm/keras_renorm": "tfbn / Keras renorm",
    }
    cells = [
        [
            shape_text(row["shape"]),
            row["mode"],
            *(number(row["ms"][name]) for name in candidates.NAMES),
            *(with_quartiles(row["ratios"][ratio]) for ratio in ratios),
        ]
        for row in rows
    ]
    note = (
        "Milliseconds of a call in training, float32, or in inference, and ratios of "
        "the times: median and quartiles of the rounds. Nothing is subtracted. The "
        "first 40 eager calls of a shape are of operations, later ones of functions."
    )
    header = ["shape", "mode", *candidates.NAMES.values(), *ratios.values()]
    return f"## Small inputs\n\n{note}\n\n{table(header, cells)}"


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
            more = MISSING if over is None else with_quartiles(over, decimals=1)
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
        "MiB of resident memory at most, each norm in processes of its own: when the "
        "model is built, and after the training steps. The process with the median "
        "difference of three."
    )
    header = ["dtype", "norm", "built", "trained", "difference"]
    return f"## VGG-A: memory\n\n{note}\n\n{table(header, cells)}"


def _case(row):
    return [shape_text(row["shape"]), row["dtype"], row["mode"]]


def _norm(norm):
    return candidates.NAMES.get(norm, norm)


def _diagnostics(rows):
    cells = [
        [
            row["network"],
            str(row["groups"]),
            number(row["ms"]["pass"]),
            number(row["ms"]["ics"]),
            with_quartiles(row["passes"], decimals=1),
            with_quartiles(row["passes_per_group"]),
            f"{row['first_seconds']:.0f}",
            *(
                f"{row[what]['peak_mib'] - row[what]['start_mib']:.0f}"
                for what in ("training_mib", "ics_mib")
            ),
        ]
        for row in rows
    ]
    note = (
        "Milliseconds of a pass, forward and backward for all gradients, and of "
        "measuring G and G' of all layers once; how many passes that is, and how many "
        "a layer group: median and quartiles of the rounds. Seconds of the first "
        "measurement, with tracing. MiB of resident memory over that of the built "
        "model, of training steps and of measurements, graphs included. ResNet50V2 (a "
        "quarter of the batch) and the VGGs on images of 32x32, with batch "
        "normalisation."
    )
    header = ["network", "groups", "pass ms", "ICS ms", "passes", "a group"]
    header += ["first s", "training MiB", "ICS MiB"]
    parts = [f"## Internal covariate shift\n\n{note}\n\n{table(header, cells)}"]
    parts += [_instruments(row) for row in rows if "instruments" in row]
    return "\n\n".join(parts)


def _instruments(row):
    cells = [
        [name, with_quartiles(cost["passes"], decimals=1), f"{cost['expected']:.1f}"]
        for name, cost in row["instruments"].items()
    ]
    note = (
        f"{row['network']}: passes that a measurement takes, and what `cost` says. "
        "Eight step sizes of the landscape; five iterations of Lanczos; activations at "
        "two states; replication of one layer."
    )
    return f"## Other diagnostics\n\n{note}\n\n" + table(
        ["diagnostic", "passes", "expected"], cells
    )


def _first_step(rows):
    cells = [
        [
            row["network"],
            _norm(name),
            *(
                text
                for part in ("trace", "step")
                for text in (
                    number(layer[part]["seconds"]),
                    with_quartiles(layer[part]["ratio"]),
                )
            ),
        ]
        for row in rows
        for name, layer in row["layers"].items()
    ]
    note = (
        "Seconds of the processor to trace a training step, and to trace it and run it "
        "once, each in a process of its own; ratios to Keras's layer: median and "
        "quartiles of the rounds."
    )
    header = ["network", "norm", "trace s", "to Keras's", "with the step s"]
    header.append("to Keras's ")
    return f"## The first training step\n\n{note}\n\n{table(header, cells)}"


def _thresholds(rows):
    cells = [
        [
            row["constant"],
            f"{row['value']:g}" + (" (used)" if row["value"] == row["used"] else ""),
            row["shape"],
            row["implementation"],
            number(row["ms"]),
            f"{row['error']:.1e}",
        ]
        for row in rows
    ]
    note = (
        "Milliseconds of output and gradients in training (XLA's constants: compiled), "
        "and the larger error of output and input gradient against float64. "
        f"{_crossover(rows)}"
    )
    header = ["constant", "value", "shape", "implementation", "ms", "error"]
    return f"## Thresholds\n\n{note}\n\n{table(header, cells)}"


def _crossover(rows):
    """From how many elements on an implementation is the fastest of those swept."""
    times = collections.defaultdict(dict)
    for row in rows:
        if row["constant"] == "cpu_kernels.MIN_ELEMENTS":
            times[row["value"]][row["implementation"]] = row["ms"]
    if not times:
        return ""
    fastest = {size: min(ms, key=ms.get) for size, ms in times.items()}
    best = fastest[max(fastest)]
    slower = [size for size, name in fastest.items() if name != best]
    start = min(size for size in fastest if size > max(slower, default=0))
    return f"{best} is the fastest from {start} elements on."


# Measured only if they are named: they take long.
LONG = ("first_step", "thresholds")
SECTIONS = {
    "layers": _layers,
    "inference": _inference,
    "small": _small,
    "exactness": _exactness,
    "network": _network,
    "memory": _memory,
    "diagnostics": _diagnostics,
    "first_step": _first_step,
    "thresholds": _thresholds,
}
