"""Draws the figures of one run, or of several runs in the same panels.

Usage: python scripts/plot.py RUN [RUN ...] [flags]   (installed: tfbn-plot)

RUN is a run directory of scripts/train.py. Draws each of these figures that the runs
have records for, and prints the path of each file:

{figures}

Example: python scripts/plot.py runs/vgg runs/vgg_bn --out=docs/figures --log_steps
"""

import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
from absl import flags
from absl import logging

from tfbn import plots
from tfbn import validation
from tfbn.commands import cli
from tfbn.recording import boards
from tfbn.recording import records
from tfbn.training.run_directory import FLAGS_FILE

__doc__ = __doc__.format(
    figures="\n".join(f"  {name:23} {text}" for name, text in plots.FIGURES.items())
)

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
    "Layers to draw where a figure has panels of layers, separated by commas. Default: "
    "in most the second, the middle and the last; in landscape none.",
)
_LOG_STEPS = flags.DEFINE_bool(
    "log_steps",
    False,
    "Logarithmic step axes, which cannot show step 0; activation_ridges chooses its "
    "steps accordingly.",
)
_TENSORBOARD = flags.DEFINE_bool(
    "tensorboard",
    False,
    "Show the figures in TensorBoard too, as images, and the flags of each run in its "
    "table of hyperparameters, which needs the package tensorboard.",
)


def main(argv):
    """Draws and writes the figures of the runs in `argv[1:]`."""
    paths = argv[1:]
    if not paths:
        raise ValueError("no run given; pass run directories made by scripts/train.py.")
    _check_figures()
    if _TENSORBOARD.value and _FORMAT.value != "png":
        raise ValueError(
            "--format must be png with --tensorboard, which shows PNG files. "
            f"Received: --format={_FORMAT.value}."
        )
    runs = records.read_runs(paths)
    options = {"layers": _LAYERS.value, "log_steps": _LOG_STEPS.value}
    drawn = plots.figures(runs, names=_FIGURES.value, **options)
    if not drawn:
        raise ValueError(f"{', '.join(paths)}: no records to draw.")
    files = plots.save(drawn, _OUT.value or _default_out(paths), _FORMAT.value)
    for path in files:
        print(path)
    if _TENSORBOARD.value:
        last = max(record["step"] for run in runs.values() for record in run)
        _show_in_tensorboard(paths, files, last)


def _show_in_tensorboard(paths, files, step):
    """Images go to the run, those of several runs to the folder of the figures."""
    folder = _run_dir(paths[0]) if len(paths) == 1 else os.path.dirname(files[0])
    boards.write_figures(folder, files, step)
    for run_dir in map(_run_dir, paths):
        flagfile = os.path.join(run_dir, FLAGS_FILE)
        # A run of tfbn.training.Trainer may have none.
        if os.path.exists(flagfile) and not boards.write_hparams(run_dir, flagfile):
            logging.warning("No hyperparameters: pip install tensorboard.")
            break


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
    return os.path.join(_run_dir(paths[0]), "figures")


def _run_dir(path):
    return os.path.dirname(path) if path.endswith(".jsonl") else path


if __name__ == "__main__":
    cli.run(main)
