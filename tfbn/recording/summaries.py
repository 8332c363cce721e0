"""Event files for TensorBoard, written without its package."""

import struct
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import _compat
from tfbn.diagnostics import registry
from tfbn.files.file_errors import as_os_errors

# A plugin of TensorBoard, and the data class of its summaries.
_IMAGES = "images", 3  # DATA_CLASS_BLOB_SEQUENCE
_SCALAR = "scalars", 1  # DATA_CLASS_SCALAR
_HISTOGRAM = "histograms", 2  # DATA_CLASS_TENSOR

# Kind of record -> lists whose extremes are not written.
_WITHOUT_BANDS = {
    kind.name: kind.without_bands
    for diagnostic in registry.values()
    for kind in diagnostic.kinds
}


class SummaryWriter:
    """Writes the same files as `tf.summary`, which needs the tensorboard package.

    TensorFlow writes in the background and does not report everything that a full disk
    rejects; records are what must not be lost.

    Args:
        folder: str, the folder of the event file.
        suffix: str, how the name of the file ends. Default: that of TensorFlow.

    Raises:
        OSError: if it cannot be written, here and in all methods.
    """

    def __init__(self, folder: str, suffix: str = ".v2"):
        self._folder = folder
        with as_os_errors(folder):
            self._writer = tf.summary.create_file_writer(folder, filename_suffix=suffix)

    def flush(self) -> None:
        """Writes everything that is still buffered."""
        with as_os_errors(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Writes everything that is still buffered and closes the file."""
        with as_os_errors(self._folder):
            self._writer.close()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Writes a number."""
        self.scalars({tag: value}, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes numbers by tag."""
        self._write([_scalar(tag, value) for tag, value in values.items()], step)

    def image(self, tag: str, png: bytes, step: int) -> None:
        """Writes the content of a PNG file."""
        size = struct.unpack(">II", png[16:24])  # of its header: width, height
        strings = np.array([*(str(pixels).encode() for pixels in size), png], object)
        self._write([_Value(tag, strings, _IMAGES)], step)

    def hparams(self, values: Mapping[str, bool | float | str]) -> None:
        """Writes the settings of a run; needs the package tensorboard."""
        from tensorboard.plugins.hparams import api  # an optional dependency

        with as_os_errors(self._folder), self._writer.as_default():
            api.hparams(dict(values))

    def histogram(
        self, tag: str, edges: Sequence[float], counts: Sequence[int], step: int
    ) -> None:
        """Writes counts `[n]` of bins between edges `[n + 1]`."""
        self._write([_histogram(tag, edges, counts)], step)

    def measurement(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Writes the record of a diagnostic, as KIND/NAME and KIND/NAME/LAYER.

        TensorBoard shows what has the same first part in one group, sorted by tag: a
        group for each kind, in which the layers of a quantity stand side by side.

        Of a list of numbers, such as the losses along a line, the least and the largest
        are written: the lower and the upper edge of a band. Both are NaN if one is.
        """
        without_bands = ("layers", *_WITHOUT_BANDS.get(kind, ()))
        layers = {"": values}
        layers |= {f"/{layer['name']}": layer for layer in values.get("layers", ())}
        found = []
        for layer, entries in layers.items():
            for name, value in _flat(entries, without_bands):
                tag = f"{kind}/{name}{layer}"
                if name == "histogram":
                    found.append(_histogram(tag, value["edges"], value["counts"]))
                elif isinstance(value, (int, float)):
                    found.append(_scalar(tag, value))
        self._write(found, step)

    def _write(self, values, step):
        # In one summary: an operation for each value took longer than to measure it.
        summary = tf.compat.v1.Summary()
        for tag, array, kind in values:
            summary.value.add(
                tag=tag,
                tensor=tf.make_tensor_proto(array),
                metadata=_compat.summary_metadata(*kind),
            )
        content = summary.SerializeToString()
        with as_os_errors(self._folder), self._writer.as_default():
            tf.summary.experimental.write_raw_pb(content, np.int64(step))


class _Value(NamedTuple):
    tag: str
    array: np.ndarray
    kind: tuple[str, int]


def _scalar(tag, value):
    return _Value(tag, np.asarray(value, np.float32), _SCALAR)


def _histogram(tag, edges, counts):
    bins = np.stack([edges[:-1], edges[1:], counts], axis=1)
    return _Value(tag, bins.astype(np.float64), _HISTOGRAM)


def _flat(
    entries: Mapping[str, Any], without_bands: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Yields `(name, value)` of what to write of a record, or a layer of one."""
    for name, value in entries.items():
        if isinstance(value, dict) and name != "histogram":
            for inner, number in value.items():
                yield f"{name}_{inner}", number
        elif isinstance(value, list):
            if value and name not in without_bands:
                yield f"{name}_lower", float(np.min(value))  # of NaN, NaN
                yield f"{name}_upper", float(np.max(value))
        else:
            yield name, value
