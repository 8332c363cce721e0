"""Compiles tfbn for GPUs and TPUs on a machine without any, and counts memory traffic.

Usage: python scripts/ahead_of_time.py [flags]

Needs `pip install tfbn[aot]`: XLA's compilers for both, which come as packages of some
1.3 GB. Prints Markdown tables of the bytes that the compiled programs read and write,
on which the time of a normalisation depends, and writes all numbers as JSON with --out.
No program is run, and so no time is measured. Its sections:

  passes    forward and backward of ops.batch_norm on their own
  layers    a layer's training step: all layers, virtual batches, masks, another axis;
            and its inference
  networks  a training step of VGG-A, batch 512, and of ResNet50V2, batch 64
  replicas  a training step on four TPUs with synchronized layers, and its all-reduces

Example: python scripts/ahead_of_time.py --sections=passes --targets=h100,v5e
         python scripts/ahead_of_time.py --from=ahead_of_time.json > ahead_of_time.md
"""

import collections
import os
import sys
import tempfile

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
import tensorflow as tf
from _ahead_of_time import compilation
from _ahead_of_time import programs
from _ahead_of_time import replicas
from _ahead_of_time import tables
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

_SECTIONS = list_flags.define_names(
    "sections", list(tables.SECTIONS), tuple(tables.SECTIONS), "Sections to compile."
)
_TARGETS = list_flags.define_names(
    "targets",
    list(compilation.TARGETS),
    tuple(compilation.TARGETS),
    "Devices to compile for.",
)
_DTYPES = list_flags.define_names(
    "dtypes", list(programs.DTYPES), programs.DTYPES, "Dtypes of the inputs."
)
_PYTHON = flags.DEFINE_string(
    "python",
    sys.executable,
    "The Python that has XLA's compilers, if it is not the one that runs this.",
)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from", None, "JSON file of an earlier run: prints its tables, compiles nothing."
)


def main(argv):
    """Compiles what the flags select, prints and writes; or prints earlier results."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, tables.render))
        return
    tf.get_logger().setLevel("ERROR")  # It warns of functions of equal code.
    with _results.written_to(_OUT.value) as results:
        results |= _results.about(_SECTIONS, _TARGETS, _DTYPES)
        results["versions"] |= compilation.versions(_PYTHON.value)
        results["rows"] = _compile_all()
        print(tables.render(results))


def _compile_all():
    """One row a program and target."""
    chosen = [
        program
        for program in programs.all_programs(_SECTIONS.value)
        if program.dtype in _DTYPES.value
    ]
    rows = []
    for target in _TARGETS.value:
        together = collections.defaultdict(list)
        for program in chosen:
            together[program.replicas].append(program)
        if compilation.TARGETS[target] != "tpu":
            # Of several GPUs, no description is at hand that the compiler takes.
            together.pop(replicas.NUMBER, None)
        for number, group in together.items():
            rows += _compiled(target, number, group)
    return rows


def _compiled(target, number, group):
    """The rows of programs that so many replicas run together."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            _written(folder, program, compilation.TARGETS[target]) for program in group
        ]
        measured = compilation.measure(_PYTHON.value, target, paths, number)
        for program, result in zip(group, measured, strict=True):
            _results.progress(f"{target}: {program.name}")
            rows.append({**program.described(), "target": target, **result})
    return rows


def _written(folder, program, kind):
    _results.progress(f"writing {program.name} for a {kind}")
    path = os.path.join(folder, f"{program.name}.stablehlo")
    with open(path, "w", encoding="utf-8") as file:
        file.write(program.text(kind))
    return path


if __name__ == "__main__":
    cli.run(main)
