"""Records: what a run measured, one JSON object a line, in `records.jsonl`.

Every record holds the int `step` (optimizer steps completed when it was measured) and
the string `kind`; its other values depend on the kind:

* `train`: `loss`, `learning_rate` and, where they exist, `accuracy`, `rmax` and
  `dmax`: means over the steps since the previous record of this kind; `skipped`, the
  number of all steps so far that changed nothing because their loss or gradients were
  not finite (absent where no steps are skipped). Means exclude skipped steps.
* `eval`: `loss` and, where it exists, `accuracy`: test split, inference mode.
* `eval_training_mode`: the same in training mode (statistics of the batch), on batches
  of the test split that are drawn as the training batches are.
* `eval_recalibrated`: as `eval`, with moving averages computed anew from training
  batches.
* `not_finite` (a run stopped at a step whose loss or gradients are not finite): `loss`
  of that step; `layer`, where it shows first, and `what` of the layer it is.
* The kinds of a diagnostic are declared with it: see `kinds` of the entries of
  `tfbn.diagnostics.registry`. If a record has `layers`, that is a list of objects in
  forward order, each with a `name`.

Floats that are not finite are written as strings; see `tfbn.recording.encoding`.
"""

import gzip
import numbers
import os
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from absl import logging

from tfbn import validation
from tfbn.recording.encoding import decode
from tfbn.recording.encoding import encode
from tfbn.recording.encoding import plain

FILE_NAME = "records.jsonl"
_GZIP = ".gz"


class RecordWriter:
    """Appends records to a file, each flushed as soon as it is written.

    An existing file is continued, as a resumed run requires; an incomplete line that a
    killed run may have left at its end is removed first. A record that does not fit on
    the disk leaves no part of itself. Nothing is created before the first `write`.

    Args:
        path: a file whose name ends in `.jsonl`, or a run directory, which means its
            `records.jsonl`. Missing folders are created.

    Example:
        >>> import tempfile
        >>> run_dir = tempfile.mkdtemp()
        >>> with RecordWriter(run_dir) as writer:
        ...     writer.write("eval", 100, loss=1.7, accuracy=0.4)
        >>> read_records(run_dir)
        [{'step': 100, 'kind': 'eval', 'loss': 1.7, 'accuracy': 0.4}]
    """

    def __init__(self, path: str | os.PathLike):
        self.path = _records_path(path)
        self._file = None

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *unused_exception) -> None:
        self.close()

    def write(self, kind: str, step: int, **values) -> None:
        """Writes one record.

        Args:
            kind: what was measured, such as "train".
            step: int >= 0, optimizer steps completed when it was measured.
            **values: numbers, strings, booleans, None, NumPy scalars and arrays,
                and lists, tuples and dicts of these.

        Raises:
            ValueError: if `kind` is empty or no string, `step` is no integer >= 0,
                or a value is of another type.
            OSError: if the file cannot be written.
        """
        if not isinstance(kind, str) or not kind:
            raise ValueError(
                f"kind must be a non-empty string. Received: kind={kind!r}."
            )
        step = validation.integer("step", plain(step, "step"), minimum=0)
        line = encode({"step": step, "kind": kind} | values)
        if self._file is None:
            self._file = _open_to_append(self.path)
        _append(self._file, f"{line}\n".encode())

    def close(self) -> None:
        """Closes the file; a later `write` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_records(path: str | os.PathLike, kind: str | None = None) -> list[dict]:
    """Returns the records of a run, in the order in which they were written.

    A resumed run repeats the steps since its checkpoint: of two records of the same
    kind and step only the later one is returned. An incomplete last line (the run was
    killed, or is writing right now) is skipped with a logged warning.

    Args:
        path: a run directory, or a file whose name ends in `.jsonl` or, compressed by
            gzip, in `.jsonl.gz`. A directory may hold either.
        kind: the only kind to return; all kinds by default.

    Raises:
        ValueError: if there is no such file, or a line other than the last one is
            no record; the message names the file and the line.
    """
    path = _path_to_read(path)
    if not os.path.isfile(path):
        raise ValueError(
            f"{os.path.dirname(path) or '.'} holds no {os.path.basename(path)}; "
            "pass a run directory made by scripts/train.py."
        )
    with _opener(path)(path, "rb") as file:
        lines = file.read().split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    latest = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = decode(line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number}: {error}; remove the line to read the rest."
                ) from error
            logging.warning("%s: line %d is incomplete, skipped.", path, number)
            continue
        key = (record["kind"], record["step"])
        latest.pop(key, None)  # so that the later record also comes later
        latest[key] = record
    return [r for r in latest.values() if kind is None or r["kind"] == kind]


def read_runs(paths: Iterable[str | os.PathLike]) -> dict[str, list[dict]]:
    """Returns the records of several runs under the names of their directories.

    Runs in directories of the same name are distinguished by as many parent folders as
    necessary ("a/run", "b/run"); a run given twice is read once.

    Args:
        paths: run directories, or files whose names end in `.jsonl`.

    Returns:
        A dict from label to `read_records(path)`, in the order given.

    Raises:
        ValueError: for one path instead of a list, and as `read_records`.
    """
    if isinstance(paths, (str, os.PathLike)):
        raise ValueError(
            "paths must be a list of run directories. Received: "
            f"paths={validation.shown(paths)}. Put it in brackets."
        )
    files = list(dict.fromkeys(os.path.abspath(_path_to_read(p)) for p in paths))
    parts = [
        path.removesuffix(_GZIP).removesuffix(os.sep + FILE_NAME).split(os.sep)
        for path in files
    ]
    return {
        _label(own, [other for other in parts if other is not own]): read_records(path)
        for own, path in zip(parts, files, strict=True)
    }


def select(records: Iterable[Mapping], kind: str) -> list[Mapping]:
    """Returns the records of one kind, in their order."""
    return [record for record in records if record["kind"] == kind]


def column(records: Iterable[Mapping], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns one value of records of one kind against the step.

    Args:
        records: records of one kind, as `select` and `read_records` return them.
        name: the value; records without it, or with None, are skipped.

    Returns:
        (steps, values): int64 and float64 arrays of one dimension and equal length,
        sorted by step. Values may be NaN or infinite.

    Raises:
        ValueError: if a value is no number.
    """
    rows = [(r["step"], r[name]) for r in records if r.get(name) is not None]
    for step, value in rows:
        if not isinstance(value, numbers.Real):
            raise ValueError(
                f"{name} must be a number in every record. Received: {name}="
                f"{validation.shown(value)} at step {step}."
            )
    rows.sort(key=lambda row: row[0])
    steps = np.array([step for step, _ in rows], dtype=np.int64)
    values = np.array([value for _, value in rows], dtype=np.float64)
    return steps, values


def by_layer(records: Iterable[Mapping], kind: str = "ics") -> dict[str, list[dict]]:
    """Returns the entries of `layers` layer by layer, in forward order.

    Args:
        records: records of any kinds; only those of kind `kind` are used.
        kind: a kind whose records hold `layers`.

    Returns:
        A dict from layer name to a list of flat records: the `step`, and the values of
        the layer ("ics": `distance`, `cosine`, `norm`, `norm_after`). `column` takes
        such a list. Records without `layers` add nothing.

    Raises:
        ValueError: if `layers` is not a list of objects with a `name`.
    """
    layers = {}
    for record in select(records, kind):
        for layer in _checked_layers(record):
            entry = {"step": record["step"], **layer}
            layers.setdefault(layer["name"], []).append(entry)
    return layers


def _records_path(path) -> str:
    path = os.fspath(path)
    return path if path.endswith(".jsonl") else os.path.join(path, FILE_NAME)


def _path_to_read(path) -> str:
    if os.fspath(path).endswith(_GZIP):
        return os.fspath(path)
    path = _records_path(path)
    compressed = path + _GZIP
    return compressed if os.path.isfile(compressed) > os.path.isfile(path) else path


def _opener(path):
    return gzip.open if path.endswith(_GZIP) else open


def _open_to_append(path):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if os.path.exists(path):
        _mend_end(path)
    return open(path, "ab", buffering=0)


def _append(file, content) -> None:
    """Writes all of `content` at the end of an unbuffered file, or nothing."""
    size = os.fstat(file.fileno()).st_size
    try:
        while content:  # a disk that is almost full takes only a part
            content = content[file.write(content) :]
    except OSError as error:
        os.ftruncate(file.fileno(), size)
        raise OSError(error.errno, error.strerror, file.name) from error


def _mend_end(path) -> None:
    """Makes the file end with a complete line, so that the next record starts one."""
    with open(path, "r+b") as file:
        content = file.read()
        kept, last = content.rpartition(b"\n")[::2]
        if not last:
            return
        try:
            decode(last)
        except ValueError:
            logging.warning("%s: removed the incomplete last line.", path)
            file.truncate(len(kept) + 1 if kept else 0)
        else:
            file.write(b"\n")


def _checked_layers(record):
    layers = record.get("layers") or []
    named = isinstance(layers, (list, tuple)) and all(
        isinstance(layer, Mapping) and isinstance(layer.get("name"), str)
        for layer in layers
    )
    if not named:
        raise ValueError(
            "layers must be a list of objects, each with a string `name`. Received: "
            f"layers={validation.shown(layers)} at step {record['step']}."
        )
    return layers


def _label(own: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    for count in range(1, len(own)):
        if all(other[-count:] != own[-count:] for other in others):
            return "/".join(own[-count:])
    return "/".join(own)
