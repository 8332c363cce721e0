"""Where a run's results lie: flags, records, summaries, the trained model."""

import datetime
import os
import platform

import keras
import tensorflow as tf

from tfbn.diagnostics import records
from tfbn.training import config as config_lib
from tfbn.training import summaries
from tfbn.version import __version__

FLAGS_FILE = "flags.cfg"
MODEL_FILE = "model.keras"


def choose(config, now=None):
    """The run's folder: `config.run_dir`, or a new name under runs/.

    Creates nothing.

    Raises:
        ValueError: if the folder holds a run already, or cannot be made.
    """
    if not config.run_dir:
        now = now or datetime.datetime.now()
        name = f"{config.dataset}_{config.model}_{config.norm}_{now:%Y%m%d-%H%M%S}"
        return unused(os.path.join("runs", name))
    path = config.run_dir
    if os.path.exists(os.path.join(path, FLAGS_FILE)):
        raise ValueError(
            f"run_dir must not hold a run already. Received: run_dir={path}. Choose "
            "another folder, or remove this one."
        )
    parent = os.path.abspath(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"run_dir must be a folder that can be written. Received: run_dir={path}; "
            f"{parent} is no such folder."
        )
    return path


class RunDirectory:
    """Writes a run's results as they come; a context manager.

    Args:
        path: str, the folder; it is made.
        config: the run's `TrainConfig`; its flags are written, less run_dir, so that
            `--flagfile=PATH/flags.cfg` repeats the run in another folder.
    """

    def __init__(self, path, config):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self._write_flags(config)
        self._records = records.RecordWriter(path)
        self._summaries = summaries.SummaryWriter(path)

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        self._records.close()
        self._summaries.close()

    def train(self, step, values):
        """A training record: means over the steps since the one before."""
        self._write("train", step, values)

    def evaluation(self, step, values):
        """A record of the test split."""
        self._write("eval", step, values)

    def measurement(self, kind, step, values):
        """A diagnostic's record."""
        self._records.write(kind, step, **values)
        self._summaries.measurement(kind, step, values)

    def save_model(self, model):
        """Writes the model as `model.keras`."""
        model.save(os.path.join(self.path, MODEL_FILE))

    def _write(self, kind, step, values):
        self._records.write(kind, step, **values)
        for name, value in values.items():
            self._summaries.scalar(f"{kind}/{name}", value, step)

    def _write_flags(self, config):
        lines = [
            "# Repeat this run: python scripts/train.py --flagfile=THIS_FILE",
            f"# tfbn {__version__}, tensorflow {tf.__version__}, keras "
            f"{keras.__version__}, Python {platform.python_version()}",
            *config_lib.to_flags(config, without=("run_dir",)),
        ]
        with open(os.path.join(self.path, FLAGS_FILE), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def unused(path):
    """`path`, or the first of path-2, path-3, ... that does not exist."""
    candidate, number = path, 2
    while os.path.exists(candidate):
        candidate, number = f"{path}-{number}", number + 1
    return candidate
