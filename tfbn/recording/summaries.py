"""Event files for TensorBoard, written without its package."""

import struct
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

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
        # From an array: TensorFlow caches every Python number that it converts.
        self._write(tag, tf.constant(np.asarray(value, np.float32)), step, _SCALAR)

    def image(self, tag: str, png: bytes, step: int) -> None:
        """Writes the content of a PNG file."""
        size = struct.unpack(">II", png[16:24])  # of its header: width, height
        strings = [*(str(pixels).encode() for pixels in size), png]
        self._write(tag, tf.constant(strings), step, _IMAGES)

    def hparams(self, values: Mapping[str, bool | float | str]) -> None:
        """Writes the settings of a run; needs the package tensorboard."""
        from tensorboard.plugins.hparams import api  # an optional dependency

        with as_os_errors(self._folder), self._writer.as_default():
            api.hparams(dict(values))

    def histogram(
        self, tag: str, edges: Sequence[float], counts: Sequence[int], step: int
    ) -> None:
        """Writes counts `[n]` of bins between edges `[n + 1]`."""
        bins = np.stack([edges[:-1], edges[1:], counts], axis=1)
        self._write(tag, tf.constant(bins, tf.float64), step, _HISTOGRAM)

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
        for layer, entries in layers.items():
            for name, value in _flat(entries, without_bands):
                tag = f"{kind}/{name}{layer}"
                if name == "histogram":
                    self.histogram(tag, value["edges"], value["counts"], step)
                elif isinstance(value, (int, float)):
                    self.scalar(tag, value, step)

    def _write(self, tag, tensor, step, kind):
        metadata = _compat.summary_metadata(*kind)
        with as_os_errors(self._folder), self._writer.as_default():
            tf.summary.write(tag, tensor, np.int64(step), metadata=metadata)


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
