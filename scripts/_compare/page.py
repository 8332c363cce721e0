"""Results of scripts/compare.py as a page in Markdown."""

import textwrap

from _benchmark import tables as benchmark_tables
from _compare import answers
from _compare import core
from _compare import diagnostic_titles
from _compare import findings as findings_lib
from _compare import hessians
from _compare import probing

from tfbn import environment
from tfbn.commands.list_flags import shape_text
from tfbn.tables import MISSING
from tfbn.tables import number
from tfbn.tables import table

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

_SHORT = """\
## In short

{table}

Each library in its fastest run. Times are the least of the rounds, relative to tfbn in
a `tf.function`; errors are those of output and input gradient on float32 data of mean
10,000 and standard deviation 1. BatchNorm has an input of 128x32x32x64, renorm one of
1024x256."""

_TIMES = """\
## Time of a training call

Output, gradients of input, gamma and beta, and the update of the averages, for one
float32 input with the channels last: milliseconds, median and least of the rounds, and
ratios to tfbn in a `tf.function`, the way `model.fit` runs it: of the least times, and
median and quartiles of the rounds. On a busy machine the least are nearer to what a
quiet one takes. PyTorch runs eagerly and by `torch.compile`, Flax and sbx under
`jax.jit`; "jit" of the others is `jit_compile=True`. The workers have
OMP_WAIT_POLICY=PASSIVE unless it is set: PyTorch's threads would spin while others
work."""

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
of surgery and backends were read in the sources. [comparison.json](comparison.json) has
how, for each."""

_DIAGNOSTICS = """\
## What the diagnostics have

Decided likewise, on networks of some hundred parameters. Where a library has nothing of
the kind, and for loops, kills, replicas and figures, its sources were read."""

_HESSIANS = """\
## One Hessian

A network of {sizes} units with tanh, cross-entropy of {samples} samples, the same
weights and data for all; tolerances and numbers of products are each tool's defaults.
Computed as a whole in float64, the largest eigenvalue is {top:.6f} and the trace
{trace:.6f}. Errors are the largest of the rounds, each of which has other random
vectors; milliseconds are the median and the least. tfbn's functions trace anew at each
call, a `CurvatureMeter` once. cockpit computes the Hessian's diagonal, without
sampling."""

_TOOLS = {
    "tfbn_top": "tfbn `hessian_top_eigenvalue`",
    "tfbn_meter": "tfbn `CurvatureMeter`",
    "pyhessian_top": "PyHessian `eigenvalues`",
    "pyhessian_tight": "PyHessian `eigenvalues(maxIter=1000, tol=1e-7)`",
    "cockpit_top": "cockpit `HessMaxEV`",
    "tfbn_trace": "tfbn `hessian_trace`",
    "tfbn_hutch++": 'tfbn `hessian_trace(method="hutch++")`',
    "pyhessian_trace": "PyHessian `trace`",
    "cockpit_trace": "cockpit `HessTrace`",
}


def render(results):
    """The page of all that was measured."""
    parts = [_INTRODUCTION + "\n" + _about(results)]
    sections = results["sections"]
    if {"times", "errors"} <= sections.keys():
        parts.append(_SHORT.format(table=core.table_of(sections)))
    parts += [
        render(sections[name])
        for name, render in SECTIONS.items()
        if sections.get(name)
    ]
    return "\n\n".join(parts) + "\n"


def _about(results):
    others = ", ".join(f"{k} {v}" for k, v in results["others"].items())
    before, after = (results["load"][key][0] for key in ("before", "after"))
    return (
        f"{environment.described(results)}; {others}. "
        f"{results['settings']['rounds']} rounds; load average {before:.1f} before, "
        f"{after:.1f} after: above the number of cores, other work made times longer "
        "and ratios less sure."
    )


def _times(rows):
    parts = [_TIMES]
    for kind, title in _KINDS.items():
        found = [row for row in rows if row["kind"] == kind]
        shape = shape_text(found[0]["shape"])
        cells = [_time_cells(row) for row in found]
        header = ["library", "run", "ms", "least", "times tfbn", "in each round"]
        parts.append(f"{title}, {shape}:\n\n{table(header, cells)}")
    return "\n\n".join(parts)


def _time_cells(row):
    if "error" in row:
        return [*_names(row), *[MISSING] * 3, row["error"]]
    times = (row[key] for key in ("ms", "least_ms", "least_ratio"))
    ratio = benchmark_tables.with_quartiles(row["ratio"])
    return [*_names(row), *map(number, times), ratio]


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
            f"### {finding.title}\n\n{textwrap.fill(finding.note, 88)}\n\n"
            f"```py\n{finding.code.strip()}\n```\n\n```text\n{printed.strip()}\n```"
        )
    return "\n\n".join(parts)


def _features(found):
    libraries = [name for name in answers.LIBRARIES if name in found]
    return answers.section(_FEATURES, probing.TITLES, libraries, found)


def _diagnostics(found):
    titles = diagnostic_titles.TITLES
    return answers.section(_DIAGNOSTICS, titles, list(found), found)


def _hessians(found):
    cells = [
        [
            _TOOLS[row["tool"]],
            f"{row['value']:.6f}",
            f"{row['largest_error']:.1e}",
            number(row["ms"]),
            number(row["least_ms"]),
            benchmark_tables.with_quartiles(row["ratio"]),
        ]
        for tool in _TOOLS
        for row in found["rows"]
        if row["tool"] == tool
    ]
    introduction = _HESSIANS.format(
        sizes="-".join(map(str, hessians.SIZES)),
        samples=hessians.SAMPLES,
        top=found["exact"]["top_eigenvalue"],
        trace=found["exact"]["trace"],
    )
    header = ["tool", "median", "largest error", "ms", "least", "times tfbn's function"]
    return f"{introduction}\n\n{table(header, cells)}"


def _names(row):
    library, _, mode = row["candidate"].partition(":")
    return [answers.LIBRARIES[library], core.MODES[mode]]


SECTIONS = {
    "times": _times,
    "errors": _errors,
    "findings": _findings,
    "features": _features,
    "diagnostics": _diagnostics,
    "hessians": _hessians,
}
