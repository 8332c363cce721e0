"""Bit-for-bit comparison of two finished runs."""

import glob
import io
import json
import os
import zipfile

import h5py
import numpy as np
import tensorflow as tf

from tfbn.recording import records
from tfbn.training import run_directory

# Differs by design: the number of checkpoints written so far, to which an interruption
# adds one.
_NOT_COMPARED = ("save_counter/.ATTRIBUTES/VARIABLE_VALUE",)
_STATE = "state/.ATTRIBUTES/py_state"


def compare(folder, other):
    """Compares two finished runs with the same flags.

    The comparison covers the variables and the configuration in model.keras; all
    tensors of the last checkpoint, and the text of its plain state (except the
    positions in the record files and the number of checkpoints); records.jsonl, byte
    for byte; flags.cfg; the summaries, in the order of the event files; and the names
    of all other files.

    Args:
        folder, other: str, run directories.

    Returns:
        `(differences, counts)`: a list of texts, empty if nothing differs, and a dict
        from the name of each part to the number of items compared in it.
    """
    differences, counts = [], {}
    for what, read in _PARTS.items():
        one, two = read(folder), read(other)
        counts[what] = len(one)
        for key in sorted(one.keys() | two.keys(), key=str):
            if key not in one or key not in two:
                place = other if key in one else folder
                differences.append(f"{what}: {key} is missing in {place}")
            elif not _same(one[key], two[key]):
                differences.append(
                    f"{what}: {key} differs: {_shown(one[key])}, {_shown(two[key])}"
                )
    return differences, counts


def newest_checkpoint(folder):
    """Returns the step of the newest checkpoint, from the names of its files."""
    pattern = os.path.join(glob.escape(folder), run_directory.CHECKPOINTS, "*.index")
    return max(_step(path) for path in glob.glob(pattern))


def _model_variables(folder):
    """Returns the variables in model.keras by their paths, and its configuration."""
    with zipfile.ZipFile(os.path.join(folder, run_directory.MODEL_FILE)) as archive:
        config = json.loads(archive.read("config.json"), object_hook=_without_addresses)
        found = {"config.json": config}
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:

        def take(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = item[()]

        file.visititems(take)
    return found


def _without_addresses(config):
    """Removes memory addresses from a part of a Keras configuration."""
    return {k: v for k, v in config.items() if k != "shared_object_id"}


def _checkpoint_tensors(folder):
    path = os.path.join(
        folder, run_directory.CHECKPOINTS, f"ckpt-{newest_checkpoint(folder)}"
    )
    reader = tf.train.load_checkpoint(path)
    tensors = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
    for name in _NOT_COMPARED:
        del tensors[name]
    tensors[_STATE] = json.loads(tensors[_STATE])["run"]
    return tensors


def _records(folder):
    return _lines(os.path.join(folder, records.FILE_NAME))


def _flags(folder):
    return _lines(os.path.join(folder, run_directory.FLAGS_FILE))


def _lines(path):
    """Returns the lines of a file, with their ends, by line number."""
    with open(path, "rb") as file:
        return dict(enumerate(file, 1))


def _summaries(folder):
    """Returns the summaries by position, event files in the order of creation."""
    paths = glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*"))
    paths.sort(key=lambda path: [int(n) for n in path.split(".") if n.isdigit()])
    values = [
        (event.step, value.tag, value.tensor.SerializeToString())
        for path in paths
        for event in tf.compat.v1.train.summary_iterator(path)
        for value in event.summary.value
    ]
    return dict(enumerate(values, 1))


def _file_names(folder):
    """Returns the names except event files and checkpoints, which differ by design."""
    names = set()
    for place, _, files in os.walk(folder):
        inside = os.path.relpath(place, folder)
        if inside != run_directory.CHECKPOINTS:
            names.update(os.path.normpath(os.path.join(inside, n)) for n in files)
    return {n: "" for n in names if not n.startswith("events.out.tfevents.")}


_PARTS = {
    "model": _model_variables,
    "checkpoint": _checkpoint_tensors,
    "records": _records,
    "flags": _flags,
    "summaries": _summaries,
    "files": _file_names,
}


def _same(one, two):
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        # Byte for byte: -0.0 differs from 0.0, and equal NaNs are equal.
        kinds = (one.dtype, one.shape) == (two.dtype, two.shape)
        return kinds and one.tobytes() == two.tobytes()
    return type(one) is type(two) and bool(one == two)


def _shown(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} {value.ravel()[:3]}"
    return repr(value)[:80]


def _step(path):
    return int(os.path.basename(path).removeprefix("ckpt-").removesuffix(".index"))
