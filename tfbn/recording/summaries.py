"""Event files for TensorBoard, written without its package."""

import numpy as np
import tensorflow as tf

from tfbn import _compat
from tfbn.files.file_errors import as_os_errors

# A plugin of TensorBoard, and the data class of its summaries.
_SCALAR = "scalars", 1  # DATA_CLASS_SCALAR
_HISTOGRAM = "histograms", 2  # DATA_CLASS_TENSOR

# Lists whose extremes say nothing, or what another value says.
_NO_BANDS = ("layers", "step_sizes", "nodes", "weights")


class SummaryWriter:
    """Writes what `tf.summary` does, which needs the tensorboard package for it.

    Writing is TensorFlow's own, in the background, and not all of what a full disk does
    not take is told: records are what must not be lost.

    Args:
        folder: str, where the event file goes.

    Raises:
        OSError: if it cannot be written, here and in all methods.
    """

    def __init__(self, folder):
        self._folder = folder
        with as_os_errors(folder):
            self._writer = tf.summary.create_file_writer(folder)

    def flush(self):
        """Writes what is not written yet."""
        with as_os_errors(self._folder):
            self._writer.flush()

    def close(self):
        """Writes what is not written yet, and no more."""
        with as_os_errors(self._folder):
            self._writer.close()

    def scalar(self, tag, value, step):
        """A number."""
        # Of an array: TensorFlow keeps each Python number that it makes a tensor of.
        self._write(tag, tf.constant(np.asarray(value, np.float32)), step, _SCALAR)

    def histogram(self, tag, edges, counts, step):
        """Counts `[n]` of bins between edges `[n + 1]`."""
        bins = np.stack([edges[:-1], edges[1:], counts], axis=1)
        self._write(tag, tf.constant(bins, tf.float64), step, _HISTOGRAM)

    def measurement(self, kind, step, values):
        """A diagnostic's record, under diagnostics/KIND_NAME and .../LAYER.

        Of a list of numbers, such as the losses along a line, the least and the largest
        are written: the lower and the upper edge of a band. A NaN among them is both.
        """
        layers = {"": values}
        layers |= {f"/{layer['name']}": layer for layer in values.get("layers", ())}
        for layer, entries in layers.items():
            for name, value in _flat(entries):
                tag = f"diagnostics/{kind}_{name}{layer}"
                if name == "histogram":
                    self.histogram(tag, value["edges"], value["counts"], step)
                elif isinstance(value, (int, float)):
                    self.scalar(tag, value, step)

    def _write(self, tag, tensor, step, kind):
        metadata = _compat.summary_metadata(*kind)
        with as_os_errors(self._folder), self._writer.as_default():
            tf.summary.write(tag, tensor, np.int64(step), metadata=metadata)


def _flat(entries):
    """`(name, value)` of what there is to show in a record or a layer of one."""
    for name, value in entries.items():
        if isinstance(value, dict) and name != "histogram":
            for inner, number in value.items():
                yield f"{name}_{inner}", number
        elif isinstance(value, list):
            if value and name not in _NO_BANDS:
                yield f"{name}_lower", float(np.min(value))  # of NaN, NaN
                yield f"{name}_upper", float(np.max(value))
        else:
            yield name, value
