"""Checkpoints of a run: written whole, some kept, the newest good one restored."""

import contextlib
import json
import os
import re
import shutil

import tensorflow as tf
from absl import logging

from tfbn.files.file_errors import as_os_error
from tfbn.files.file_errors import first_line

_INDEX_NAME = re.compile(r"ckpt-(\d+)\.index")
_STATE_FILE = "checkpoint"  # CheckpointManager's list of what it keeps


class PlainState(tf.train.experimental.PythonState):
    """What of a run is no variable, as a part of its checkpoints.

    Attributes:
        values: a dict that JSON can write.
    """

    def __init__(self):
        super().__init__()
        self.values = {}

    def serialize(self):
        """`values` as text."""
        return json.dumps(self.values)

    def deserialize(self, string_value):
        """Takes over the values of a text."""
        self.values = json.loads(string_value)


class Checkpoints:
    """The checkpoints of one run, `ckpt-STEP` in a folder.

    A checkpoint is complete or not there: TensorFlow writes it under another name, and
    a process that is killed meanwhile leaves nothing that counts. Every tensor in it
    has a checksum, so that damage (of a disk, of a copy, of a power failure) is found.

    One process at a time may use the folder. Constructing touches no file.

    Args:
        folder: str.
        kept: int > 0, the newest checkpoints that are kept.
        **trackables: what a checkpoint holds, as `tf.train.Checkpoint` takes it. Keras
            models do not track the states of their seed generators: give them too.
    """

    def __init__(self, folder, *, kept, **trackables):
        self.folder = folder
        self._kept = kept
        self._checkpoint = tf.train.Checkpoint(**trackables)
        self._manager = None

    def latest(self):
        """The step of the newest checkpoint that is there, damaged or not, or None."""
        steps = self._steps()
        return steps[-1] if steps else None

    def restore(self, objection=lambda: None):
        """Restores the newest checkpoint that is whole; to be called before `save`.

        What is newer than that one is damaged and removed, with a logged warning: the
        run comes by those steps again.

        Args:
            objection: function called after a checkpoint was restored, that returns
                why it cannot be used after all, as text, or None.

        Returns:
            Its step, or None where there is no checkpoint yet.

        Raises:
            ValueError: if there are checkpoints and none can be used, or they are of
                another model.
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
                f"{' '.join(damages)} To begin anew, remove {self.folder}."
            )
        for damage in damages:
            logging.warning("%s The one before is used.", damage)
        self._remove_all_but(steps)
        self._manager = self._manager_of(steps)
        return steps[-1] if steps else None

    def save(self, step):
        """Writes the checkpoint of a step, and removes those that are too old.

        Raises:
            OSError: if it cannot be written; the ones before are still there.
        """
        try:
            with _quietly():
                self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            self._remove_all_but(self._steps())
            raise as_os_error(error, self.folder) from error
        # The manager removes none that it does not know of.
        self._remove_all_but(self._steps()[-self._kept :])

    def _restore(self, path):
        try:
            self._checkpoint.restore(path).assert_consumed()
        except AssertionError as error:
            raise ValueError(
                f"{path} is of another model or optimizer: {first_line(error)}. Go on "
                "with the versions of tfbn and Keras that wrote it, or remove "
                f"{self.folder} to begin anew."
            ) from error

    def _steps(self):
        """The steps of the checkpoints in the folder, ascending.

        Not from TensorFlow's list of them, which may be damaged too.
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
                # Damaged, or of a process that was killed: the next save writes it.
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(self.folder, _STATE_FILE))
            return tf.train.CheckpointManager(
                self._checkpoint, self.folder, max_to_keep=self._kept
            )


def _listed(folder):
    """The names of the checkpoints that CheckpointManager knows of."""
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:
        return None
    paths = state.all_model_checkpoint_paths if state else ()
    return [os.path.basename(path) for path in paths]


@contextlib.contextmanager
def _quietly():
    """Keeps TensorFlow's notes on sharding and the like out of the log."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _names(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def _damage(path):
    """What is wrong with a checkpoint, or None: reads, and so checks, every tensor."""
    try:
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError) as error:
        raise as_os_error(error, path) from error
    # What TensorFlow raises depends on which bytes are damaged.
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        return first_line(error)
    return None
