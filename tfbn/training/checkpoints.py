"""Checkpoints of a run: complete or absent, checked for damage when restored."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from tfbn.files.file_errors import as_os_error
from tfbn.files.file_errors import first_line

_INDEX_NAME = re.compile(r"ckpt-(\d+)\.index")
_STATE_FILE = "checkpoint"  # CheckpointManager's list of what it keeps


class PlainState(tf.train.experimental.PythonState):
    """State without variables, as a part of checkpoints.

    Attributes:
        values: anything that JSON can represent.
    """

    def __init__(self):
        super().__init__()
        self.values: Any = {}

    def serialize(self) -> str:
        """Returns `values` as text."""
        return json.dumps(self.values)

    def deserialize(self, string_value: str) -> None:
        """Restores `values` from text."""
        self.values = json.loads(string_value)


class Checkpoints:
    """The checkpoints of one run, `ckpt-STEP` in a folder.

    A checkpoint is complete or absent: TensorFlow writes it under another name and
    renames it. Every tensor has a checksum, which shows damage by disks, copies and
    power failures.

    One process at a time may use the folder. The constructor touches no file.

    Args:
        folder: str.
        kept: int > 0, the number of newest checkpoints to keep.
        writes: bool, whether this process writes and removes checkpoints. If not, it
            only restores them.
        **trackables: the parts of a checkpoint, as `tf.train.Checkpoint` takes them.
            Keras models do not track the states of their seed generators: pass those.
    """

    def __init__(self, folder: str, *, kept: int, writes: bool = True, **trackables):
        self.folder = folder
        self._writes = writes
        self._kept = kept
        self._checkpoint = tf.train.Checkpoint(**trackables)
        self._manager: Any = None

    def latest(self) -> int | None:
        """The step of the newest checkpoint, damaged or not, or None."""
        steps = self._steps()
        return steps[-1] if steps else None

    def restore(self, objection: Callable[[], str | None] = lambda: None) -> int | None:
        """Restores the newest intact checkpoint; must be called before `save`.

        Newer ones are damaged and removed, with a logged warning: the run makes those
        steps again.

        Args:
            objection: called after a checkpoint was restored; returns why it cannot be
                used, as text, or None.

        Returns:
            Its step, or None if there is no checkpoint yet.

        Raises:
            ValueError: if there are checkpoints but none can be used, or they belong
                to another model.
            OSError: if they cannot be read.
        """
        steps, damages = self._steps(), []
        while steps:
            path = self._path(steps[-1])
            damage = _damage(path)
            if damage is None:
                self._restore(path)
                damage = objection()
            if damage is None:
                break
            damages.append(f"{path} cannot be used: {damage}.")
            steps.pop()
        if damages and not steps:
            raise ValueError(
                f"{' '.join(damages)} To start again, remove {self.folder}."
            )
        for damage in damages:
            logging.warning("%s The one before is used.", damage)
        if self._writes:
            self._remove_all_but(steps)
            self._manager = self._manager_of(steps)
        return steps[-1] if steps else None

    def save(self, step: int) -> None:
        """Writes the checkpoint of a step, and removes the oldest ones.

        Raises:
            OSError: if it cannot be written; the earlier ones are still there.
        """
        try:
            with _quietly():
                self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            self._remove_all_but(self._steps())
            raise as_os_error(error, self.folder) from error
        # The manager removes only those that it wrote itself.
        self._remove_all_but(self._steps()[-self._kept :])

    def _restore(self, path):
        try:
            self._checkpoint.restore(path).assert_consumed()
        except AssertionError as error:
            raise ValueError(
                f"{path} is of another model or optimizer: {first_line(error)}. Resume "
                "with the model, and the versions of tfbn and Keras, that wrote it, or "
                f"remove {self.folder} to start again."
            ) from error

    def _steps(self):
        """The steps of the checkpoints in the folder, ascending.

        Not from TensorFlow's own list, which may be damaged too.
        """
        matches = map(_INDEX_NAME.fullmatch, _names(self.folder))
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, step):
        return os.path.join(self.folder, f"ckpt-{step}")

    def _remove_all_but(self, steps):
        good = tuple(f"ckpt-{step}." for step in steps)
        for name in _names(self.folder):
            if not name.startswith(good) and name != _STATE_FILE:
                path = os.path.join(self.folder, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def _manager_of(self, steps):
        with _quietly():
            if _listed(self.folder) != [f"ckpt-{step}" for step in steps]:
                # Damaged, or from a killed process: the next save writes it again.
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(self.folder, _STATE_FILE))
            return tf.train.CheckpointManager(
                self._checkpoint, self.folder, max_to_keep=self._kept
            )


def _listed(folder):
    """The names of the checkpoints in CheckpointManager's list."""
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:
        return None
    paths = state.all_model_checkpoint_paths if state else ()
    return [os.path.basename(path) for path in paths]


@contextlib.contextmanager
def _quietly():
    """Keeps TensorFlow's notes, such as those on sharding, out of the log."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _names(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def _damage(path):
    """What is wrong with a checkpoint, or None. Reading checks every tensor."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype == tf.variant:  # an iterator: NumPy has no such arrays
                tf.raw_ops.RestoreV2(
                    prefix=path,
                    tensor_names=[name],
                    shape_and_slices=[""],
                    dtypes=[dtype],
                )
            else:
                reader.get_tensor(name)
    except (tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError) as error:
        raise as_os_error(error, path) from error
    # Which error TensorFlow raises depends on which bytes are damaged.
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        return first_line(error)
    return None
