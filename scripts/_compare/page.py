"""Results of scripts/compare.py as a page in Markdown."""

from _benchmark import tables as benchmark_tables
from _compare import findings as findings_lib
from _compare import probing

from tfbn import environment
from tfbn.commands.list_flags import shape_text
from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table

LIBRARIES = {
    "tfbn": "tfbn",
    "keras": "Keras",
    "tf_keras": "tf_keras",
    "torch": "torch",
    "torchrl": "torchrl",
    "flax": "Flax",
    "sbx": "sbx",
}
_MODES = {
    "eager": "eager",
    "function": "tf.function",
    "jit": "jit",
    "contiguous": "eager, channels first in memory",
    "compile": "torch.compile",
}
_KINDS = {"bn": "Batch normalisation", "renorm": "Batch Renormalization"}

_INTRODUCTION = """\
# Comparison

tfbn beside the layers and diagnostics that its users would take otherwise, all in one
run of `scripts/compare.py`. Other frameworks run in interpreters of their own:

```sh
python3 -m venv .venv/torch && .venv/torch/bin/pip install "setuptools<81" \\
    torch torchrl cockpit-for-pytorch pyhessian loss-landscapes
python3 -m venv .venv/jax && .venv/jax/bin/pip install jax flax sbx-rl
python scripts/compare.py --rounds=15 --out=docs/comparison.json \\
    --torch_python=.venv/torch/bin/python --jax_python=.venv/jax/bin/python
python scripts/compare.py --from=docs/comparison.json > docs/comparison.md
```
"""

_TIMES = """\
## Time of a training call

Output, gradients of input, gamma and beta, and the update of the averages, for one
float32 input with the channels last: median milliseconds, and the ratio to tfbn in a
`tf.function`, the way `model.fit` runs it (median and quartiles of the rounds). PyTorch
runs eagerly and by `torch.compile`, Flax and sbx under `jax.jit`; "jit" of the others
is `jit_compile=True`."""

_ERRORS = """\
## Error against float64

The largest error over the largest absolute value, of the output and of the gradient of
the input, on the same float32 inputs: normal with standard deviation 1 and mean 0 or
10,000. Each library is held to its own formula; for renorm these are

{formulas}

where sigma_B = sqrt(var + epsilon), r is sigma_B / sigma and d (mean - moving_mean) /
sigma, clipped. tfbn, Keras and tf_keras average sigma_B, torchrl the unbiased variance
and sbx the biased one, all after use. All layers have epsilon 0.001, rmax 3 and dmax 5
here; torchrl and sbx are at the end of their warm-up. "At the bounds" has averages so
far off that r and d are clipped."""

_FORMULAS = (
    ("library", "sigma", "y"),
    (
        (
            "tfbn, Keras, tf_keras",
            "max(moving_stddev, sqrt(epsilon))",
            "(x - mean) / sigma_B * r + d",
        ),
        ("torchrl", "sqrt(moving_var + epsilon)", "(x - mean) / sigma_B * r + d"),
        (
            "sbx",
            "sqrt(moving_var + epsilon)",
            "((x - mean) * r + d * sqrt(var)) / sqrt(var + epsilon * r^2)",
        ),
    ),
)

_FINDINGS = """\
## What the errors come from

Programs that the script ran, and what they printed."""

_FEATURES = """\
## What the layers have

Short programs decided, or signatures where an argument or name is missing; a few cells
of surgery and backends were read in the sources. comparison.json has how, for each."""


def render(results):
    """The page of all that was measured."""
    parts = [_INTRODUCTION + "\n" + _about(results)]
    parts += [
        SECTIONS[name](found) for name, found in results["sections"].items() if found
    ]
    return "\n\n".join(parts) + "\n"


def _about(results):
    others = ", ".join(f"{k} {v}" for k, v in results["others"].items())
    before, after = (results["load"][key][0] for key in ("before", "after"))
    return (
        f"{environment.described(results)}; {others}. "
        f"{results['settings']['rounds']} rounds; load average {before:.1f} before, "
        f"{after:.1f} after."
    )


def _times(rows):
    parts = [_TIMES]
    for kind, title in _KINDS.items():
        found = [row for row in rows if row["kind"] == kind]
        shape = shape_text(found[0]["shape"])
        cells = [_time_cells(row) for row in found]
        header = ["library", "run", "ms", "times tfbn"]
        parts.append(f"{title}, {shape}:\n\n{table(header, cells)}")
    return "\n\n".join(parts)


def _time_cells(row):
    if "error" in row:
        return [*_names(row), MISSING, row["error"]]
    ratio = benchmark_tables.with_quartiles(row["ratio"])
    return [*_names(row), number(row["ms"]), ratio]


def _errors(rows):
    parts = [_ERRORS.format(formulas=table(*_FORMULAS))]
    for kind, title in _KINDS.items():
        cases = {}  # (offset, at bounds) -> candidate -> row
        for row in rows:
            if row["kind"] == kind:
                case = row["offset"], row["at_bounds"]
                cases.setdefault(case, {})[row["candidate"]] = row
        header = ["library", "run"]
        for offset, at_bounds in cases:
            where = "at the bounds" if at_bounds else f"mean {offset:g}"
            header += [f"{where}: output", "gradient"]
        cells = [
            [*_names(row), *_error_cells(found[name] for found in cases.values())]
            for name, row in next(iter(cases.values())).items()
        ]
        parts.append(f"{title}:\n\n{table(header, cells)}")
    return "\n\n".join(parts)


def _error_cells(rows):
    for row in rows:
        for quantity in ("output", "gradient"):
            value = row.get(quantity)
            yield row.get("error", "NaN") if value is None else f"{value:.1e}"


def _findings(found):
    parts = [_FINDINGS]
    for name, printed in found.items():
        finding = findings_lib.FINDINGS[name]
        parts.append(
            f"### {finding.title}\n\n{finding.note}\n\n"
            f"```py\n{finding.code.strip()}\n```\n\n```text\n{printed.strip()}\n```"
        )
    return "\n\n".join(parts)


def _features(found):
    libraries = [name for name in LIBRARIES if name in found]
    return answers_section(_FEATURES, probing.TITLES, libraries, found)


def answers_section(introduction, titles, libraries, found):
    """A table of answers, and the notes on those that are no plain yes.

    Args:
        introduction: str, a heading and what follows it.
        titles: dict from the name of a row to its title.
        libraries: names of the columns, keys of `LIBRARIES` and of `found`.
        found: dict from library to the answers of `probing`.
    """
    cells = [
        [title, *(_answer(found[library], name) for library in libraries)]
        for name, title in titles.items()
    ]
    header = ["", *(LIBRARIES[library] for library in libraries)]
    notes = [
        f"- {LIBRARIES[library]}, {title}: {found[library][name]['note']}."
        for name, title in titles.items()
        for library in libraries
        if _has_note(found[library].get(name))
    ]
    return "\n\n".join([introduction, table(header, cells), "\n".join(notes)])


def _answer(answers, name):
    return answers[name]["answer"] if name in answers else MISSING


def _has_note(cell):
    return cell is not None and (
        cell["answer"] == "partly" or (cell["answer"], cell["how"]) == ("no", "probe")
    )


def _names(row):
    library, _, mode = row["candidate"].partition(":")
    return [LIBRARIES[library], _MODES[mode]]


SECTIONS = {
    "times": _times,
    "errors": _errors,
    "findings": _findings,
    "features": _features,
}
