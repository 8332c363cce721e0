"""Training steps one by one, where `fit` makes several in a call."""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class SingleSteps:
    """Stands in for `model.train_function` for one call, and makes single steps in it.

    With `steps_per_execution` > 1 Keras makes that many steps in one call of a compiled
    function, within which nobody sees the model. It stops earlier if the iterator ends,
    and so makes one step where it is given an iterator of one batch. Here a call
    becomes as many calls of the same function, to the same results, bit for bit. Only
    under a strategy of one replica is the loop around the step traced again, once, for
    another type of iterator.

    Args:
        model: a compiled Keras model whose `fit` has begun.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._function = model.train_function
        self._watching: list[tuple[Callable[[], None], Callable[[], None]]] = []

    @classmethod
    def of(cls, model: keras.Model) -> "SingleSteps":
        """Puts one in place, or returns that which another callback has put there."""
        if not isinstance(model.train_function, cls):
            model.train_function = cls(model)
        return model.train_function

    def watch(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Has each step made between `begin()` and `end()`."""
        self._watching.append((begin, end))

    def __call__(self, iterator: Any) -> Any:
        """Makes the steps of the call; returns the logs of the last one."""
        self._model.train_function = self._function
        logs = None
        replicas = self._model.distribute_strategy.num_replicas_in_sync
        for _ in range(self._model.steps_per_execution):
            batch = _iterator_of_one(iterator, replicas)
            if batch is None:
                break
            for begin, _ in self._watching:
                begin()
            logs = self._function(batch)
            for _, end in self._watching:
                end()
        if logs is None:
            raise StopIteration  # as Keras's function
        return logs


def _iterator_of_one(iterator, replicas):
    """The next batch alone in an iterator, or None without another one."""
    if replicas > 1:  # Keras takes their batches from a Python iterator too
        batches = list(itertools.islice(iterator, 1))
        return iter(batches) if batches else None
    batch = iterator.get_next_as_optional()
    if not batch.has_value():
        return None
    # With the shapes that the function was traced for, those of all batches: for those
    # of this batch it would be traced again, and might round differently.
    variant = _dataset_of_one(batch.get_value())
    return iter(tf.data.experimental.from_variant(variant, iterator.element_spec))


@tf.function(autograph=False, reduce_retracing=True)
def _dataset_of_one(batch):
    """A dataset of one batch, as a variant; eagerly it would take milliseconds."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    dataset = tf.data.Dataset.from_tensors(batch).with_options(options)
    return tf.data.experimental.to_variant(dataset)
