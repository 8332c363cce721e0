"""The compiled inner loop on the replicas of a `tf.distribute` strategy."""

import collections
from typing import Any

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn.diagnostics.nonfinite import all_finite
from tfbn.layers import synchronization
from tfbn.training import replicas
from tfbn.training.batch_sources import Source
from tfbn.training.objective import Objective
from tfbn.training.step import Steps


class ReplicatedSteps(Steps):
    """`Steps` whose batches are divided among replicas.

    Each replica computes its slice of the global batch. The loss of a slice is weighted
    by its share of the examples, and penalties of regularizers by one over the number
    of replicas, so that the gradients add up to those of the global batch. They are
    added before the optimizer sees them: Keras would clip those of each replica. All
    replicas then make the same update. Losses, gradients, the outputs that metrics are
    taken of, and the moving averages of unsynchronized layers travel in one message.
    Layers that draw random numbers draw other ones on each replica.

    Args:
        model, optimizer, objective, source, on_nonfinite: as in `Steps`; model and
            optimizer made within the strategy's scope.
        strategy: a `tf.distribute.Strategy`.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        objective: Objective,
        source: Source,
        *,
        strategy: tf.distribute.Strategy,
        on_nonfinite: str = "ignore",
    ):
        self._strategy = strategy
        self._number = replicas.number_of(strategy)
        # A TPU would otherwise be sent the arrays with each step.
        self._gathers_first = replicas.is_tpu(strategy)
        if self._number > 1:
            objective.check_adds_up()
        self._drifting = replicas.drifting(model) if self._number > 1 else []
        self._has_metrics = objective.has_metrics
        with strategy.scope():
            super().__init__(
                model, optimizer, objective, source, on_nonfinite=on_nonfinite
            )

    @tf.autograph.experimental.do_not_convert
    def _step_of(self, feed, i):
        batch = self._source.batch(feed, i) if self._gathers_first else (feed, i)
        with _compat.unscaled_losses(), _compat.seeds_of_replicas():
            losses, gradients, outputs, kept = self._strategy.run(
                self._on_replica, args=batch
            )
        losses = {name: self._first(value) for name, value in losses.items()}
        results = losses | self._metrics_of(batch, outputs)
        results = {name: tf.cast(v, tf.float32) for name, v in results.items()}
        if self._on_nonfinite == "ignore":
            self._update(gradients)
            return results

        def apply():
            self._update(gradients)
            return 0.0

        def keep():
            for variable, value in zip(self._kept_if_not_finite(), kept, strict=True):
                self._strategy.extended.update(variable.value, _assign, args=(value,))
            return 1.0

        checked = [losses["loss"]]
        if not self._scales_loss:
            checked += [self._first(g) for g in gradients if g is not None]
        # In the cross-replica context: a branch on a replica cannot talk to others.
        results["skipped"] = tf.cond(all_finite(checked), apply, keep)
        return results

    def _on_replica(self, *batch):
        """`(losses, gradients, outputs)` of the global batch, what this replica kept.

        Without metrics the outputs are `()`.
        """
        context = tf.distribute.get_replica_context()
        kept = [tf.identity(v.value) for v in self._kept_if_not_finite()]
        replica = context.replica_id_in_sync_group
        x, y, share = self._slice(batch, replica)
        share = None if self._objective.sums else share
        with synchronization.averaged_later() as averages:
            losses, y_pred, gradients = self._gradients(x, y, share)
        self._check_masks(y_pred)
        outputs = self._whole(y_pred, batch, replica) if self._has_metrics else ()
        drifting = [*self._drifting, *averages] if self._number > 1 else []
        values = [tf.identity(variable.value) for variable in drifting]
        losses, gradients, outputs, values = _sums_of(
            (losses, gradients, outputs, values), context
        )
        for variable, value in zip(drifting, values, strict=True):
            synchronization.assign(variable, value / self._number, same=True)
        return losses, gradients, outputs, kept

    def _slice(self, batch, replica):
        """`(x, y, share of the examples)`."""
        source: Any = self._source
        if not self._gathers_first:
            return source.slice(*batch, replica, self._number)
        parts = replicas.part_of(batch, source.batch_size, replica, self._number)
        return *parts, 1.0 / self._number

    def _whole(self, y_pred, batch, replica):
        """The outputs of this replica, at their place among zeros for the others'."""
        source: Any = self._source
        size = source.batch_size if self._gathers_first else source.size(batch[0])
        return tf.nest.map_structure(
            lambda part: replicas.among_zeros(part, size, replica, self._number), y_pred
        )

    def _penalties(self):
        """This replica's part of the penalties, each of which it knows as a whole."""
        penalties = self._model.losses
        of_weights = [
            v for v in self._model.trainable_variables if v.regularizer is not None
        ]
        if self._number > 1 and len(penalties) != len(of_weights):
            raise ValueError(
                "model must have no add_loss and no activity regularizers on several "
                "replicas: whether they are sums or means over examples is not known. "
                f"Received: model {self._model.name} with "
                f"{len(penalties) - len(of_weights)} of them, strategy of "
                f"{self._number} replicas."
            )
        return [penalty / self._number for penalty in penalties]

    def _check_masks(self, y_pred):
        masked = any(_compat.keras_mask(t) is not None for t in tf.nest.flatten(y_pred))
        if self._number > 1 and masked:
            raise ValueError(
                "model must have outputs without masks on several replicas: the loss "
                "is a mean over what a mask keeps, which differs from slice to slice. "
                f"Received: model {self._model.name}, whose outputs have one, strategy "
                f"of {self._number} replicas."
            )

    def _update(self, gradients):
        """Makes the same update on all replicas, given the gradients of all."""

        def apply(gradients):
            self._optimizer.apply(gradients, self._model.trainable_variables)

        with _compat.summed_gradients(self._optimizer):
            self._strategy.run(apply, args=(gradients,))

    def _metrics_of(self, batch, outputs):
        """The metrics of the global batch, computed once."""
        if not self._has_metrics:
            return {}
        # All processes read all targets.
        _, y = batch if self._gathers_first else self._source.batch(*batch)
        return self._objective.metrics(y, tf.nest.map_structure(self._first, outputs))

    def _first(self, value):
        """What all replicas have, of the first one."""
        return self._strategy.experimental_local_results(value)[0]


def _sums_of(values, context):
    """The sums over the replicas, in one message for each dtype; None stays None."""
    sums = tf.nest.flatten(values)
    groups = collections.defaultdict(list)
    for index, value in enumerate(sums):
        if value is not None:
            groups[value.dtype].append(index)
    for indices in groups.values():
        message = [sums[index] for index in indices]
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, message)
        for index, total in zip(indices, reduced, strict=True):
            sums[index] = total
    return tf.nest.pack_sequence_as(values, sums)


def _assign(variable, value):
    variable.assign(value)
