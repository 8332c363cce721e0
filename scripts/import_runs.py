"""Writes the run directories of runs that were trained by run_exported.py.

Usage: python scripts/import_runs.py DIR --out=FOLDER [flags]

DIR is the folder of scripts/export_runs.py, with the results in it. Below FOLDER, such
as runs/reproduce/cpu, each run gets the directory that scripts/reproduce.py expects,
with flags.cfg, records.jsonl, TensorBoard events and origin.json, which says where it
was trained. The weights stay there, so there is no model and there are no checkpoints.
"""

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
from _elsewhere import importing
from absl import flags

from tfbn.commands import cli

_OUT = flags.DEFINE_string("out", None, "Folder of the runs.", required=True)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    "",
    "Folder of prepared TFDS data sets; empty: the default folder of TFDS.",
)


def main(argv):
    """Imports the runs that have results and no directory yet."""
    if len(argv) != 2:
        raise ValueError(f"Name one folder, DIR. Received: {' '.join(argv[1:])!r}.")
    for run in importing.trained(argv[1], out=_OUT.value):
        importing.write(run, data_dir=_DATA_DIR.value)
        print(run.run_dir, flush=True)


if __name__ == "__main__":
    cli.run(main)
