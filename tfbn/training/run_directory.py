"""The folder of a run: settings, records, summaries, checkpoints, the model."""

import glob
import os
import platform
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn.files import atomic
from tfbn.files import folder_lock
from tfbn.recording import records
from tfbn.recording import summaries
from tfbn.version import __version__

FLAGS_FILE = "flags.cfg"
MODEL_FILE = "model.keras"
CHECKPOINTS = "checkpoints"
# In place of model and checkpoints, where scripts/import_runs.py wrote the folder.
ORIGIN_FILE = "origin.json"

# With this setting a run stops before any of its steps depends on the setting, so it
# may be resumed with another value.
_STOPS = ("on_nonfinite", "stop")


class Setting(NamedTuple):
    """One of a run's settings, as its directory keeps it.

    Attributes:
        name: str.
        value: str.
        default: str, the value of a directory that does not have the setting.
        affects_results: bool, whether a run can be resumed only with the same value.
    """

    name: str
    value: str
    default: str
    affects_results: bool = True


def check(path: str, settings: Iterable[Setting]) -> None:
    """Checks that a run can be started or resumed in a folder. Creates nothing.

    Raises:
        ValueError: if the folder holds a run with other settings or is used by another
            process, or cannot be made.
    """
    if os.path.exists(os.path.join(path, FLAGS_FILE)):
        _check_same_settings(path, settings)
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


class RunDirectory:
    """Writes a run's results; a context manager that locks the folder.

    Call `begin` before the first result.

    Args:
        path: the folder, created if necessary.
        settings: written to `flags.cfg`, one `--name=value` a line.
        header: a one-line comment above them.

    Raises:
        ValueError: if another process uses the folder.
        OSError: if it cannot be written.
    """

    def __init__(self, path: str, settings: Iterable[Setting], *, header: str = ""):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self._records = records.RecordWriter(path)
        self._summaries: Any = None
        self._lock = folder_lock.FolderLock(path)
        try:
            atomic.sweep(path)
            self._write_flags(settings, header)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *unused_exception) -> None:
        self._records.close()
        if self._summaries is not None:
            self._summaries.close()
        self._lock.release()

    def begin(self, positions: Mapping[str, int] | None = None) -> None:
        """Removes what was written after `positions()`; everything for None."""
        for path in self._logs():
            position = (positions or {}).get(os.path.basename(path))
            if position is None:
                os.remove(path)
            elif position < os.path.getsize(path):
                os.truncate(path, position)
        self._summaries = summaries.SummaryWriter(self.path)

    def positions(self) -> dict[str, int]:
        """The sizes in bytes of the files that results are appended to, by name."""
        self._summaries.flush()
        return {os.path.basename(path): os.path.getsize(path) for path in self._logs()}

    def missing(self, positions: Mapping[str, int]) -> str | None:
        """Which of the records up to `positions()` are lost, as text, or None."""
        size, path = positions.get(records.FILE_NAME, 0), self._records.path
        found = os.path.getsize(path) if os.path.exists(path) else 0
        if found < size:
            return f"it goes with {size} bytes of {path}, which has {found}"
        return None

    def train(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a training record: means over the steps since the last one."""
        self._write("train", step, values)

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a record of the validation data."""
        self._write("eval", step, values)

    def last_evaluation(self) -> dict[str, Any]:
        """The values of the last record of the validation data; empty without one."""
        *_, last = [{}, *records.read_records(self.path, "eval")]
        return {k: v for k, v in last.items() if k not in ("step", "kind")}

    def measurement(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Writes a record of a diagnostic."""
        self._records.write(kind, step, **values)
        self._summaries.measurement(kind, step, values)

    def save_model(self, model: keras.Model) -> None:
        """Writes the model as `model.keras`."""
        with atomic.replacement(os.path.join(self.path, MODEL_FILE)) as partial:
            model.save(partial)

    def _write(self, kind, step, values):
        self._records.write(kind, step, **values)
        tagged = {f"{kind}/{name}": value for name, value in values.items()}
        self._summaries.scalars(tagged, step)

    def _logs(self):
        events = os.path.join(glob.escape(self.path), "events.out.tfevents.*")
        return [
            p for p in [self._records.path, *glob.glob(events)] if os.path.exists(p)
        ]

    def _write_flags(self, settings, header):
        lines = [
            f"# {header}",
            f"# tfbn {__version__}, tensorflow {tf.__version__}, keras "
            f"{keras.__version__}, Python {platform.python_version()}",
            *(f"--{setting.name}={setting.value}" for setting in settings),
        ]
        with atomic.replacing(os.path.join(self.path, FLAGS_FILE)) as file:
            file.write("\n".join(lines) + "\n")


class Onlooker(RunDirectory):
    """The run directory of a process that writes nothing: another one does.

    Args:
        path: the folder.
    """

    def __init__(self, path: str):
        self.path = path
        self._last: dict[str, Any] = {}

    def __exit__(self, *unused_exception) -> None:
        pass

    def begin(self, positions: Mapping[str, int] | None = None) -> None:
        pass

    def positions(self) -> dict[str, int]:
        return {}

    def missing(self, positions: Mapping[str, int]) -> str | None:
        return None

    def train(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        self._last = dict(values)

    def last_evaluation(self) -> dict[str, Any]:
        """The last values that `evaluation` was given."""
        return self._last

    def measurement(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        pass

    def save_model(self, model: keras.Model) -> None:
        pass


def unused(path: str) -> str:
    """`path`, or the first of path-2, path-3, ... that does not exist."""
    candidate, number = path, 2
    while os.path.exists(candidate):
        candidate, number = f"{path}-{number}", number + 1
    return candidate


def _check_same_settings(path, settings):
    flagfile = os.path.join(path, FLAGS_FILE)
    # A damaged line shows as a difference.
    with open(flagfile, encoding="utf-8", errors="replace") as file:
        lines = [line.strip().removeprefix("--") for line in file if line[:2] == "--"]
    before = {name: value for name, _, value in (n.partition("=") for n in lines)}
    differing = [
        f"--{setting.name}={setting.value} (the run: {value})"
        for setting in settings
        if setting.affects_results
        and (value := before.get(setting.name, setting.default)) != setting.value
        and (setting.name, value) != _STOPS
    ]
    if differing:
        raise ValueError(
            "run_dir must be a new folder, or hold a run of the same settings to "
            f"resume. Received: run_dir={path} and {', '.join(differing)}. Give the "
            f"run's settings ({flagfile}), or choose another folder."
        )


def _check_not_bare(path):
    """Refuses to start again, and to remove its records, where a run has ended."""
    ended = [os.path.join(path, name) for name in (MODEL_FILE, ORIGIN_FILE)]
    checkpoints = os.path.join(path, CHECKPOINTS)
    if any(map(os.path.exists, ended)) and not os.path.isdir(checkpoints):
        raise ValueError(
            "run_dir must hold the checkpoints of its run, or no run. Received: "
            f"run_dir={path}, whose run has ended and which has no {CHECKPOINTS}/. "
            "Choose another folder, or remove this one."
        )
