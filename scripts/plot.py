"""Draws the figures of one run, or of several runs over each other.

Usage: python scripts/plot.py RUN [RUN ...] [flags]

RUN is a run directory of scripts/train.py. Draws those of these figures for which the
runs hold records, and prints the path of each file written:

  learning_curves   loss and accuracy, training and test
  covariate_shift   Santurkar et al. 2018, Fig. 3: paired gradients, layer by layer
  renorm_bounds     rmax and dmax of Batch Renormalization

Example: python scripts/plot.py runs/vgg runs/vgg_bn --out=docs/figures --log_steps
"""

import os

import _cli
import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
from absl import flags

from tfbn import plots
from tfbn.diagnostics import records

_OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder for the figures, made if missing. Default: RUN/figures for one run, "
    "figures/ in the current folder for several.",
)
_FORMAT = flags.DEFINE_enum(
    "format", "png", plots.FILE_FORMATS, "File format of the figures."
)
_LAYERS = flags.DEFINE_list(
    "layers",
    None,
    "Layers of covariate_shift, separated by commas. Default: the second, the middle "
    "and the last one; the shift of the first is zero by definition.",
)
_LOG_STEPS = flags.DEFINE_bool(
    "log_steps", False, "Logarithmic step axes; they have no place for step 0."
)


def main(argv):
    """Draws and writes the figures of the runs in `argv[1:]`."""
    paths = argv[1:]
    if not paths:
        raise ValueError("no run given; pass run directories made by scripts/train.py.")
    runs = records.read_runs(paths)
    drawn = plots.figures(runs, layers=_LAYERS.value, log_steps=_LOG_STEPS.value)
    if not drawn:
        raise ValueError(f"{', '.join(paths)}: no records to draw.")
    for path in plots.save(drawn, _OUT.value or _default_out(paths), _FORMAT.value):
        print(path)


def _default_out(paths):
    if len(paths) > 1:
        return "figures"
    path = paths[0]
    run_dir = os.path.dirname(path) if path.endswith(".jsonl") else path
    return os.path.join(run_dir, "figures")


if __name__ == "__main__":
    _cli.run(main)
