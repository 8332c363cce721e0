"""Where a run's batches come from: arrays in memory, a function, or a tf.data.Dataset.

A source has

* `spec`, the batch `(x, y)` as `tf.TensorSpec`, with free batch sizes;
* `batch_size`, an int, or None where it is not known;
* `most_steps`, how many steps one call of the compiled loop can make, or None;
* `signature`, the input signature of the compiled loop, or None;
* `feed(step, num_steps)`, what the loop is called with: tensors with one row a step;
* `batch(feed, i)`, the batch of row i, computed inside the loop;
* `slice(feed, i, replica, number)`, `(x, y, share)`: the slice of that batch that is
  one replica's, and its share of the examples;
* `at(step)`, the batch of the step that was just made, and of the next one too where
  the source `knows_next`; and `probe()`, the batch of step 0: for measurements;
* `trackables`, the part of its state that checkpoints hold.
"""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.data.array_batches import ArrayBatches
from tfbn.diagnostics.arguments import first_line
from tfbn.training import replicas
from tfbn.training.checkpoints import PlainState


def source_of(batches: Any) -> "Source":
    """The source for the argument `batches` of a trainer.

    Raises:
        ValueError: if `batches` is of another type than `Trainer` allows.
    """
    if isinstance(batches, ArrayBatches):
        return ArraySource(batches)
    if isinstance(batches, tf.data.Dataset):
        return DatasetSource(batches)
    if callable(batches):
        return FunctionSource(batches)
    raise ValueError(
        "batches must be tfbn.data.ArrayBatches, a function batches(step) -> (x, y) or "
        f"a tf.data.Dataset. Received: batches={validation.shown(batches)}."
    )


class ArraySource:
    """Batches gathered on the device, any number of steps per call."""

    most_steps = None
    knows_next = True
    trackables: dict[str, Any] = {}

    def __init__(self, batches: ArrayBatches):
        self._batches = batches
        self.batch_size = batches.batch_size
        # Another number of steps does not retrace. The size of a batch is told, for
        # layers choose their code by it.
        self.signature = [tf.TensorSpec([None, self.batch_size], tf.int64)]
        self.spec = free_sizes(batches(0))

    def feed(self, step: int, num_steps: int) -> tf.Tensor:
        indices = [self._batches.indices(i) for i in range(step, step + num_steps)]
        return tf.constant(np.stack(indices), tf.int64)

    def batch(self, feed: Any, i: tf.Tensor) -> Any:
        return self._batches.arrays.gather(feed[i])

    def size(self, unused_feed: Any) -> int:
        return self.batch_size

    def slice(self, feed: Any, i: tf.Tensor, replica: Any, number: int) -> Any:
        indices, size = feed[i], self.batch_size
        if size % number == 0:
            indices = replicas.part_of(indices, size, replica, number)
            share = 1.0 / number
        else:
            begin, end = replicas.bounds(size, replica, number)
            indices, share = indices[begin:end], (end - begin) / size
        # Moves the slice to the replica's device, not all of the arrays.
        x, y = self._batches.arrays.gather(indices, in_place=True)
        return x, y, share

    def at(self, step: int) -> Any:
        return self._batches(step)

    def probe(self) -> Any:
        return self._batches(0)


class _StepByStep:
    """A source that feeds one step per call."""

    most_steps = 1
    signature = None

    def batch(self, feed: Any, i: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda rows: rows[i], feed)

    def size(self, feed: Any) -> tf.Tensor:
        _, y = feed
        return tf.shape(tf.nest.flatten(y)[0])[1]

    def slice(self, feed: Any, i: tf.Tensor, replica: Any, number: int) -> Any:
        x, y = self.batch(feed, i)
        size = self.size(feed)
        enough = tf.debugging.assert_greater_equal(
            size, number, "a batch has fewer examples than the strategy has replicas"
        )
        with tf.control_dependencies([op for op in [enough] if op is not None]):
            begin, end = replicas.bounds(size, replica, number)
        x, y = tf.nest.map_structure(lambda part: part[begin:end], (x, y))
        return x, y, (end - begin) / size


class FunctionSource(_StepByStep):
    """Batches of a function of the step."""

    knows_next = True
    trackables: dict[str, Any] = {}

    def __init__(self, function: Callable[[int], Any]):
        self._function = function
        self._probe = self.at(0)
        self.spec = free_sizes(self._probe)
        self.batch_size = tf.nest.flatten(self._probe)[-1].shape[0]

    def feed(self, step: int, unused_num_steps: int) -> Any:
        return _as_row(self.at(step))

    def at(self, step: int) -> Any:
        return checked_batch(self._function(step))

    def probe(self) -> Any:
        return self._probe


class DatasetSource(_StepByStep):
    """Batches of a `tf.data.Dataset`.

    The position of its iterator is part of the checkpoints, and so is the batch of
    step 0, which an iterator does not give twice.
    """

    knows_next = False

    def __init__(self, dataset: tf.data.Dataset):
        self.spec = _checked_spec(dataset.element_spec)
        self.batch_size = tf.nest.flatten(dataset.element_spec)[-1].shape[0]
        self._iterator = iter(dataset)
        _check_serializable(self._iterator)
        self._last: tuple[int, Any] = (-1, None)
        self._first = PlainState()
        self.trackables = {"iterator": self._iterator, "first_batch": self._first}

    def feed(self, step: int, unused_num_steps: int) -> Any:
        try:
            batch = next(self._iterator)
        except StopIteration as error:
            raise ValueError(
                "batches must hold a batch for each of train_steps steps. Received: a "
                f"dataset that ends before step {step}. Give dataset.repeat()."
            ) from error
        self._last = step, batch
        if step == 0:
            texts = [tf.io.serialize_tensor(t).numpy() for t in tf.nest.flatten(batch)]
            self._first.values = [base64.b64encode(t).decode() for t in texts]
        return _as_row(batch)

    def at(self, step: int) -> Any:
        last_step, batch = self._last
        assert step == last_step
        return batch

    def probe(self) -> Any:
        texts = [base64.b64decode(text) for text in self._first.values]
        specs = tf.nest.flatten(self.spec)
        parts = [
            tf.io.parse_tensor(t, s.dtype) for t, s in zip(texts, specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(self.spec, parts)


Source = ArraySource | FunctionSource | DatasetSource


def checked_batch(batch: Any) -> tuple:
    """A batch `(x, y)` as tensors.

    Raises:
        ValueError: if it is not a pair of arrays or structures of arrays.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(
            "batches must give a pair (x, y). Received: a batch that is "
            f"{validation.shown(batch)}."
        )
    try:
        x, y = (tf.nest.map_structure(tf.convert_to_tensor, part) for part in batch)
        return x, y
    except (TypeError, ValueError) as error:
        raise ValueError(
            "batches must give pairs of arrays or structures of arrays. Received: "
            f"{validation.shown(batch)}."
        ) from error


def free_sizes(batch: Any) -> Any:
    """The `tf.TensorSpec`s of a batch, with any number of examples."""

    def spec(part):
        if not part.shape.rank:
            raise ValueError(
                "batches must have an axis of examples. Received: a batch with a part "
                f"of shape {part.shape}."
            )
        return tf.TensorSpec([None, *part.shape[1:]], part.dtype)

    return tf.nest.map_structure(spec, batch)


def _checked_spec(element_spec):
    if not isinstance(element_spec, tuple) or len(element_spec) != 2:
        raise ValueError(
            "batches must give a pair (x, y). Received: a dataset with elements "
            f"{validation.shown(element_spec)}. Map them to pairs."
        )
    return free_sizes(element_spec)


def _as_row(batch):
    return tf.nest.map_structure(lambda part: part[tf.newaxis], batch)


def _check_serializable(iterator):
    """Refuses an iterator that no checkpoint can hold, before the first step."""
    try:
        tf.train.Checkpoint(iterator=iterator).write("ram://tfbn_iterator/checkpoint")
    except tf.errors.OpError as error:
        raise ValueError(
            "batches must be a dataset whose iterator can be saved, without Python "
            "functions (from_generator) and unseeded random operations. Received: a "
            f"dataset of which TensorFlow says: {first_line(error)} Use "
            "tf.random.stateless_* operations, or give a function batches(step)."
        ) from error
