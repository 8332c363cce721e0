"""Where a run's results lie: flags, records, summaries, checkpoints, the model."""

import datetime
import glob
import os
import platform

import keras
import tensorflow as tf

from tfbn.experiment import config as config_lib
from tfbn.files import atomic
from tfbn.files import folder_lock
from tfbn.recording import records
from tfbn.recording import summaries
from tfbn.version import __version__

FLAGS_FILE = "flags.cfg"
MODEL_FILE = "model.keras"
CHECKPOINTS = "checkpoints"


def choose(config, now=None):
    """The run's folder: `config.run_dir`, or a new name under runs/.

    Creates nothing. A folder that holds a run of the same flags is taken: the run is
    gone on with.

    Raises:
        ValueError: if the folder holds a run of other flags, is in use by another
            process, or cannot be made.
    """
    if not config.run_dir:
        now = now or datetime.datetime.now()
        name = f"{config.dataset}_{config.model}_{config.norm}_{now:%Y%m%d-%H%M%S}"
        return unused(os.path.join("runs", name))
    path = config.run_dir
    if os.path.exists(os.path.join(path, FLAGS_FILE)):
        _check_same_flags(path, config)
        _check_not_bare(path)
        folder_lock.check_free(path)
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

    While open, no other process can open the folder. Before the first result, `begin`.

    Args:
        path: str, the folder; it is made.
        config: the run's `TrainConfig`; its flags are written, less run_dir, so that
            `--flagfile=PATH/flags.cfg` repeats the run in another folder.

    Raises:
        ValueError: if another process has the folder.
        OSError: if it cannot be written.
    """

    def __init__(self, path, config):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self._records = records.RecordWriter(path)
        self._summaries = None
        self._lock = folder_lock.FolderLock(path)
        try:
            atomic.sweep(path)
            self._write_flags(config)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        self._records.close()
        if self._summaries is not None:
            self._summaries.close()
        self._lock.release()

    def begin(self, positions=None):
        """Takes away what was written after `positions()`; None: everything."""
        for path in self._logs():
            position = (positions or {}).get(os.path.basename(path))
            if position is None:
                os.remove(path)
            elif position < os.path.getsize(path):
                os.truncate(path, position)
        self._summaries = summaries.SummaryWriter(self.path)

    def positions(self):
        """How far the files that results are appended to are written.

        Returns:
            A dict from the file's name to its size in bytes, for `begin`.
        """
        self._summaries.flush()
        return {os.path.basename(path): os.path.getsize(path) for path in self._logs()}

    def missing(self, positions):
        """What of the records up to `positions()` is not there, as text, or None."""
        size, path = positions.get(records.FILE_NAME, 0), self._records.path
        found = os.path.getsize(path) if os.path.exists(path) else 0
        if found < size:
            return f"it goes with {size} bytes of {path}, which has {found}"
        return None

    def train(self, step, values):
        """A training record: means over the steps since the one before."""
        self._write("train", step, values)

    def evaluation(self, step, values):
        """A record of the test split."""
        self._write("eval", step, values)

    def last_evaluation(self):
        """The values of the last record of the test split."""
        *_, last = records.read_records(self.path, "eval")
        return {k: v for k, v in last.items() if k not in ("step", "kind")}

    def measurement(self, kind, step, values):
        """A diagnostic's record."""
        self._records.write(kind, step, **values)
        self._summaries.measurement(kind, step, values)

    def save_model(self, model):
        """Writes the model as `model.keras`."""
        with atomic.replacement(os.path.join(self.path, MODEL_FILE)) as partial:
            model.save(partial)

    def _write(self, kind, step, values):
        self._records.write(kind, step, **values)
        for name, value in values.items():
            self._summaries.scalar(f"{kind}/{name}", value, step)

    def _logs(self):
        events = os.path.join(glob.escape(self.path), "events.out.tfevents.*")
        return [
            p for p in [self._records.path, *glob.glob(events)] if os.path.exists(p)
        ]

    def _write_flags(self, config):
        lines = [
            "# Repeat this run: python scripts/train.py --flagfile=THIS_FILE",
            f"# tfbn {__version__}, tensorflow {tf.__version__}, keras "
            f"{keras.__version__}, Python {platform.python_version()}",
            *config_lib.to_flags(config, without=("run_dir",)),
        ]
        with atomic.replacing(os.path.join(self.path, FLAGS_FILE)) as file:
            file.write("\n".join(lines) + "\n")


def unused(path):
    """`path`, or the first of path-2, path-3, ... that does not exist."""
    candidate, number = path, 2
    while os.path.exists(candidate):
        candidate, number = f"{path}-{number}", number + 1
    return candidate


def _check_same_flags(path, config):
    # What is damaged in it shows as a difference.
    flagfile = os.path.join(path, FLAGS_FILE)
    with open(flagfile, encoding="utf-8", errors="replace") as file:
        flags = [line.strip() for line in file if line.startswith("--")]
    differing = config_lib.differences(flags, config)
    if differing:
        told = ", ".join(
            f"--{name}={now} (the run: {before})"
            for name, (before, now) in differing.items()
        )
        raise ValueError(
            "run_dir must be a new folder, or hold a run of the same flags to go on "
            f"with. Received: run_dir={path} and {told}. Give the run's flags "
            f"(--flagfile={flagfile}), or choose another folder."
        )


def _check_not_bare(path):
    """Refuses to begin anew, and to take away its records, where a run has ended."""
    model, checkpoints = (os.path.join(path, n) for n in (MODEL_FILE, CHECKPOINTS))
    if os.path.exists(model) and not os.path.isdir(checkpoints):
        raise ValueError(
            "run_dir must hold the checkpoints of its run, or no run. Received: "
            f"run_dir={path}, whose run has ended and which has no {CHECKPOINTS}/. "
            "Choose another folder, or remove this one."
        )
