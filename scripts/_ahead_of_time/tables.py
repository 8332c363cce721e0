"""Results of scripts/ahead_of_time.py as Markdown."""

from tfbn import environment
from tfbn.commands.list_flags import shape_text
from tfbn.tables import MISSING
from tfbn.tables import table

SECTIONS = {
    "passes": (
        "ops.batch_norm",
        "In passes over the input: bytes that the program reads and writes, over those "
        "of x. The least possible is 3 forward (x is read for the statistics and for "
        "the output, which is written) and 5 backward. XLA's count for a TPU has 4 or "
        "8 more where a tensor fits into its vector memory: it is copied there first.",
    ),
    "layers": (
        "Layers",
        "In passes over the input, forward and backward in one program (`inference`: "
        "forward). The least possible is 7, as the pass for the output can also take "
        "the sums for the gradient, and 2 in inference.",
    ),
    "networks": (
        "Networks",
        "Megabytes that a training step with SGD reads and writes, and those over the "
        "same step with Keras's layer.",
    ),
    "replicas": (
        "Replicas",
        "All-reduces of a training step on four replicas that share statistics: one "
        "forward and one backward for each layer; in networks one more for all "
        "gradients. With several GPUs TensorFlow communicates outside of XLA.",
    ),
}
_FAILED = "**fails**"


def render(results):
    """All that was compiled, section by section."""
    versions = results["versions"]
    compilers = ", ".join(
        f"{name} {versions[name]}" for name in ("jax", "libtpu", "jax-cuda12-plugin")
    )
    parts = ["# Programs for TPUs and GPUs, compiled ahead of time"]
    parts.append(f"{environment.described(results)}; {compilers}.")
    for name, (title, note) in SECTIONS.items():
        rows = [row for row in results["rows"] if row["section"] == name]
        if rows:
            lines = _grouped(rows, _CELLS.get(name, _passes))
            parts.append(f"## {title}\n\n{note}\n\n{lines}")
    failed = [row for row in results["rows"] if row["error"]]
    parts += [
        f"{_key(row)} for {row['target']} does not compile: {row['error']}"
        for row in failed
    ]
    return "\n\n".join(parts)


def _passes(row, _):
    if row["error"]:
        return _FAILED
    return f"{row['bytes'] / row['argument']:.2f}"


def _megabytes(row, rows):
    if row["error"]:
        return _FAILED
    text = f"{row['bytes'] / 1e6:.0f}"
    if not row["what"].startswith("tfbn"):
        return text
    peer = next(
        (
            other
            for other in rows
            if other["what"] == "keras_bn"
            and all(other[key] == row[key] for key in ("variant", "dtype", "target"))
        ),
        None,
    )
    if peer is None or peer["error"]:
        return text
    return f"{text} ({row['bytes'] / peer['bytes']:.3f})"


def _all_reduces(row, _):
    return _FAILED if row["error"] else str(row["collectives"])


_CELLS = {"networks": _megabytes, "replicas": _all_reduces}


def _grouped(rows, cell):
    """A table with a column for each target, then temporary memory and kernels.

    The last column is left out where no program is one for a GPU.
    """
    targets = list(dict.fromkeys(row["target"] for row in rows))
    programs = {}
    for row in rows:
        programs.setdefault(_key(row), {})[row["target"]] = row
    lines = []
    for of_targets in programs.values():
        row = next(iter(of_targets.values()))
        temporary = [r["temporary"] for r in of_targets.values() if not r["error"]]
        kernels = {r.get("kernels") for r in of_targets.values()} - {None}
        lines.append(
            [
                row["what"],
                row["variant"],
                shape_text(row["shape"]),
                row["dtype"],
                *(
                    cell(of_targets[target], rows) if target in of_targets else MISSING
                    for target in targets
                ),
                f"{max(temporary) / 1e6:.1f}" if temporary else MISSING,
                ", ".join(map(str, sorted(kernels))) or MISSING,
            ]
        )
    header = ["of", "what", "input", "dtype", *targets, "temporary MB, at most"]
    if all(line[-1] == MISSING for line in lines):
        return table(header, [line[:-1] for line in lines])
    return table([*header, "kernels of a GPU"], lines)


def _key(row):
    return ", ".join(
        (row["what"], row["variant"], shape_text(row["shape"]), row["dtype"])
    )
