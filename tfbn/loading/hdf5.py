"""Reads HDF5 files of others: neither links out of the file nor what takes no space."""

import contextlib
import itertools
import os
import zipfile
from collections.abc import Iterator
from collections.abc import Sequence

import h5py
import numpy as np
import tensorflow as tf

from tfbn import validation

_WEIGHTS_IN_KERAS_FILE = "model.weights.h5"
_BFLOAT16 = "bfloat16"


class Misfit(Exception):
    """What of a file does not fit the model."""


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[h5py.File]:
    """The weights of a `.weights.h5`, `.h5` or `.keras` file, open for reading.

    A `Misfit` inside the context becomes a ValueError that names the file.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield stack.enter_context(_file(path, stack))
    except Misfit as misfit:
        raise ValueError(
            "path must be a file with weights for this model. Received: path="
            f"{validation.shown(os.fspath(path))}: {misfit} Nothing was loaded."
        ) from misfit


def _file(path, stack):
    try:
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            return h5py.File(stack.enter_context(archive.open(_WEIGHTS_IN_KERAS_FILE)))
        return h5py.File(path, mode="r")
    except (OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            "path must be a .weights.h5, .keras or .h5 file. Received: path="
            f"{validation.shown(path)}, which cannot be read as one: "
            f"{' '.join(str(error).split())}."
        ) from error


def is_legacy(file: h5py.File) -> bool:
    """Whether the file has the layout of `.h5`, not that of `.weights.h5`."""
    return "model_weights" in file or _has_attribute(file, "layer_names")


def groups(group: h5py.Group) -> dict[str, h5py.Group]:
    """The groups in a group, by name."""
    members = {name: _member(group, name) for name in group}
    return {name: m for name, m in members.items() if isinstance(m, h5py.Group)}


def datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The datasets in a group, by name; numbers in their order."""
    members = {name: _member(group, name) for name in group}
    found = {n: m for n, m in members.items() if isinstance(m, h5py.Dataset)}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What is at a path of several names.

    Raises:
        Misfit: if there is nothing.
    """
    for name in path.split("/"):
        if not isinstance(group, h5py.Group) or name not in group:
            raise Misfit(f"it has no {validation.shown(path)}.")
        group = _member(group, name)
    return group


def attribute(group: h5py.Group, name: str) -> list[str]:
    """A list of strings, which Keras splits if it is long."""
    parts = [name]
    if name not in group.attrs:
        numbered = (f"{name}{i}" for i in itertools.count())
        parts = list(itertools.takewhile(group.attrs.__contains__, numbered))
    return [
        text.decode("utf8") if isinstance(text, bytes) else str(text)
        for part in parts
        for text in group.attrs[part]
    ]


def read(dataset: h5py.Dataset, where: str, shapes: Sequence[tuple]) -> np.ndarray:
    """The array of a dataset that has one of the shapes; otherwise nothing is read.

    Raises:
        Misfit: for another shape.
    """
    if dataset.external or dataset.is_virtual:
        raise Misfit(f"{where} lies in another file.")
    if dataset.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise Misfit(f"{where} has shape {dataset.shape}, the model's has {wanted}.")
    if dataset.attrs.get("dtype") == _BFLOAT16:
        return np.array(dataset, dtype=tf.bfloat16.as_numpy_dtype)
    return np.asarray(dataset)


def write(dataset: h5py.Dataset, value: np.ndarray) -> None:
    """Replaces the contents of a dataset, in its data type."""
    if dataset.attrs.get("dtype") == _BFLOAT16:
        dataset[...] = np.asarray(value, tf.bfloat16.as_numpy_dtype).view(dataset.dtype)
    else:
        dataset[...] = np.asarray(value).astype(dataset.dtype, copy=False)


def _has_attribute(group, name):
    return name in group.attrs or f"{name}0" in group.attrs


def _member(group, name):
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Misfit(f"{validation.shown(name)} is a link.")
    return group[name]
