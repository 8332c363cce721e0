"""Exports runs as StableHLO, to be trained with JAX on another machine.

Usage: python scripts/export_runs.py RUN... --out_dir=DIR [flags]

RUN is an experiment of scripts/reproduce.py, or a flagfile of scripts/train.py. What a
run computes, its step, evaluations and measurements, is compiled here to StableHLO as
TensorFlow would hand it to XLA. A machine with an accelerator that has JAX but no
TensorFlow can then train it:

  here     python scripts/export_runs.py ioffe_2017_stability --out_dir=DIR
  there    python scripts/run_exported.py DIR
  here     python scripts/import_runs.py DIR --out=runs/reproduce/cpu

The last one writes the run directories, with the records that the run would have
written here, by the code that writes them here; scripts/reproduce.py finds them.

Products of matrices and convolutions are computed in full precision there; see the flag
--fast of run_exported.py.
"""

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import tensorflow as tf
from _elsewhere import exporting
from _elsewhere import plans
from _elsewhere import selection
from absl import flags

from tfbn.commands import cli
from tfbn.commands import flagfiles
from tfbn.reproduction.experiment import SCALES

_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder for the export, made if it is missing.", required=True
)
_SCALE = flags.DEFINE_enum("scale", "cpu", SCALES, "Scale of the experiments.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    "",
    "Folder of prepared TFDS data sets; empty: the default folder of TFDS.",
)
_LABELS = flags.DEFINE_string(
    "labels", "", "Regular expression: only an experiment's runs whose labels match."
)


def main(argv):
    """Exports the runs that are named."""
    tf.get_logger().setLevel("ERROR")
    runs = selection.chosen(
        argv[1:],
        scale=_SCALE.value,
        data_dir=_DATA_DIR.value,
        labels=_LABELS.value,
    )
    folder = plans.Folder(_OUT_DIR.value)
    for count, group in enumerate(groups := exporting.groups(runs), start=1):
        print(
            f"[{count}/{len(groups)}] {group[0].label}, {len(group)} runs", flush=True
        )
        exporting.export(group, folder)
    folder.write()
    print(f"{len(runs)} runs in {_OUT_DIR.value}. Train them there by: python "
          f"run_exported.py {_OUT_DIR.value}")  # fmt: skip


if __name__ == "__main__":
    cli.run(main, prepare=flagfiles.expand_flagfiles)
