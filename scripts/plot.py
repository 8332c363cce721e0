"""Draws the figures of one run, or of several runs over each other.

Usage: python scripts/plot.py RUN [RUN ...] [flags]

RUN is a run directory of scripts/train.py. Draws those of these figures for which the
runs hold records, and prints the path of each file written:

  learning_curves         loss and accuracy, training and test
  covariate_shift         Santurkar et al. 2018, Fig. 3: paired gradients, by layer
  landscape               the same, Fig. 4: loss range, gradient predictiveness,
                          effective beta; and local linearity
  landscape_random        the same along a random direction
  activation_ridges       histograms of activations as training goes on
  activation_moments      Santurkar, Fig. 8: moments, their changes and drift
  activation_percentiles  Ioffe and Szegedy 2015, Fig. 1: 15th, 50th, 85th of a unit
  curvature               largest eigenvalue of the Hessian, beside 2 / learning rate
  hessian_spectrum        density of all its eigenvalues, of the last measurement
  surface                 loss along one direction, or a map over two
  theory                  Santurkar, Theorem 4.1: how far it holds, by layer
  replication             a public replication's estimators beside the right ones
  renorm_bounds           rmax and dmax of Batch Renormalization

Example: python scripts/plot.py runs/vgg runs/vgg_bn --out=docs/figures --log_steps
"""

import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
from absl import flags

from tfbn import plots
from tfbn import validation
from tfbn.commands import cli
from tfbn.recording import records

_OUT = flags.DEFINE_string(
    "out",
    None,
    "Folder for the figures, made if missing. Default: RUN/figures for one run, "
    "figures/ in the current folder for several.",
)
_FORMAT = flags.DEFINE_enum(
    "format", "png", plots.FILE_FORMATS, "File format of the figures."
)
_FIGURES = flags.DEFINE_list(
    "figures",
    None,
    "The only figures to draw, separated by commas. Default: all that there are "
    "records for.",
)
_LAYERS = flags.DEFINE_list(
    "layers",
    None,
    "Layers to draw where a figure has panels of layers, separated by commas; those of "
    "landscape have some only then. Default: in most the second, the middle and the "
    "last one.",
)
_LOG_STEPS = flags.DEFINE_bool(
    "log_steps",
    False,
    "Logarithmic step axes; they have no place for step 0. activation_ridges chooses "
    "its steps accordingly.",
)


def main(argv):
    """Draws and writes the figures of the runs in `argv[1:]`."""
    paths = argv[1:]
    if not paths:
        raise ValueError("no run given; pass run directories made by scripts/train.py.")
    _check_figures()
    runs = records.read_runs(paths)
    options = {"layers": _LAYERS.value, "log_steps": _LOG_STEPS.value}
    drawn = plots.figures(runs, names=_FIGURES.value, **options)
    if not drawn:
        raise ValueError(f"{', '.join(paths)}: no records to draw.")
    for path in plots.save(drawn, _OUT.value or _default_out(paths), _FORMAT.value):
        print(path)


def _check_figures():
    unknown = [n for n in _FIGURES.value or () if n not in plots.FIGURE_NAMES]
    if unknown or _FIGURES.value == []:
        raise ValueError(
            f"--figures must be among {', '.join(plots.FIGURE_NAMES)}. "
            f"Received: --figures={','.join(_FIGURES.value)}."
            f"{validation.suggestion(''.join(unknown[:1]), plots.FIGURE_NAMES)}"
        )


def _default_out(paths):
    if len(paths) > 1:
        return "figures"
    path = paths[0]
    run_dir = os.path.dirname(path) if path.endswith(".jsonl") else path
    return os.path.join(run_dir, "figures")


if __name__ == "__main__":
    cli.run(main)
