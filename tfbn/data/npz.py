"""Data sets in `.npz` files: a user's own arrays."""

import os
import zipfile

import numpy as np

from tfbn import validation
from tfbn.data.dataset import DataError
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.dataset import channel_moments

_SUFFIX = ".npz"
_NAMES = ("x", "y", "x_test", "y_test")


def is_path(name: object) -> bool:
    """Whether `name` stands for such a file."""
    return str(name).endswith(_SUFFIX)


def load_npz(path: str | os.PathLike) -> Dataset:
    """Loads a data set from a file that `numpy.savez` wrote.

    The arrays `x` and `x_test` are inputs with the examples on the first of two or more
    axes. uint8 inputs are standardised by the mean and the standard deviation of each
    channel over `x`; float32 inputs are used as they are. `y` and `y_test` are labels,
    ints from 0, `[n]` or `[n, 1]`; or the targets of a regression, floats, `[n]` or
    `[n, units]`. `x_test` and `y_test` may both be missing.

    Args:
        path: str or path of the file.

    Returns:
        A `Dataset`, whose `test` is None if the file has no test split.

    Raises:
        DataError: a ValueError, if the file or one of its arrays is not such.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(
            f"path must be a path. Received: path={validation.shown(path)}."
        )
    path = os.path.expanduser(path)
    arrays = _read(path)
    with_test = "x_test" in arrays or "y_test" in arrays
    names = _NAMES if with_test else _NAMES[:2]
    if missing := [name for name in names if name not in arrays]:
        found = ", ".join(sorted(arrays)) or "no array"
        raise DataError(
            f"{path} must hold the arrays {', '.join(_NAMES)}. Received: {found}; "
            f"{missing[0]} is missing."
        )
    classifies = np.issubdtype(arrays["y"].dtype, np.integer)
    train = _split(path, arrays, "x", "y", classifies)
    test = _split(path, arrays, "x_test", "y_test", classifies) if with_test else None
    if test is not None:
        _check_same_shape(path, train, test)
    mean, stddev = _moments(train.inputs)
    num_classes = None
    if classifies:
        num_classes = 1 + max(int(s.targets.max()) for s in (train, test) if s)
    name = os.path.splitext(os.path.basename(path))[0]
    return Dataset(name, train, test, num_classes, mean, stddev)


def _read(path):
    """A dict from name to array."""
    if not os.path.isfile(path):
        raise DataError(
            f"dataset must be a {_SUFFIX} file. Received: {path}, which does not exist."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except PermissionError:
        raise
    except (TypeError, OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise DataError(
                f"{path} must hold arrays of numbers. Received: an array of Python "
                "objects, which is not loaded, as unpickling it could run code."
            ) from error
        raise DataError(
            f"{path} must be a file that numpy.savez wrote. Received: a damaged file, "
            "or one of another kind."
        ) from error


def _split(path, arrays, x_name, y_name, classifies):
    x, y = arrays[x_name], arrays[y_name]
    _check(path, x_name, x, x.dtype in (np.uint8, np.float32), "uint8 or float32")
    if classifies:
        _check(path, y_name, y, np.issubdtype(y.dtype, np.integer), "integers, as y is")
    else:
        is_float = np.issubdtype(y.dtype, np.floating)
        _check(path, y_name, y, is_float, "integers (labels) or floats (regression)")
    if x.ndim not in range(2, 6) or not x.size:
        rule = "have from two to five axes and at least one example"
        raise _wrong(path, x_name, rule, f"shape {x.shape}")
    if y.ndim == 1 and not classifies or y.shape[1:] == (1,) and classifies:
        y = y.reshape((-1, 1) if y.ndim == 1 else -1)
    if y.ndim != (1 if classifies else 2) or not y.size:
        shape = "[n]" if classifies else "[n] or [n, units]"
        raise _wrong(path, y_name, f"have the shape {shape}", f"shape {y.shape}")
    if len(x) != len(y):
        raise _wrong(
            path, f"{x_name} and {y_name}", "be equally long", f"{len(x)} and {len(y)}"
        )
    if classifies and y.min() < 0:
        raise _wrong(path, y_name, "hold labels from 0", f"label {y.min()}")
    y = y.astype(np.int64 if classifies else np.float32)
    for name, array in ((x_name, x), (y_name, y)):
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise _wrong(path, name, "be finite", "NaN or an infinity")
    return Split(x, y)


def _check(path, name, array, is_right, kinds):
    if not is_right:
        raise _wrong(path, name, f"be of {kinds}", f"dtype {array.dtype}")


def _check_same_shape(path, train, test):
    for name, one, other in (
        ("x_test", train.inputs, test.inputs),
        ("y_test", train.targets, test.targets),
    ):
        if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
            rule = f"be of dtype {one.dtype} and shape {('n', *one.shape[1:])}"
            received = f"dtype {other.dtype}, shape {other.shape}"
            raise _wrong(path, name, rule, received)


def _wrong(path, name, rule, received):
    return DataError(f"{path}: {name} must {rule}. Received: {received}.")


def _moments(inputs):
    if inputs.dtype == np.uint8:
        return channel_moments(inputs)
    channels = inputs.shape[-1]
    return np.zeros(channels, np.float32), np.ones(channels, np.float32)
