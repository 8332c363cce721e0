"""The compiled inner loop: steps of gradient descent."""

import keras
import numpy as np
import tensorflow as tf

from tfbn.diagnostics.measurement import traced
from tfbn.diagnostics.nonfinite import all_finite
from tfbn.training.batch_sources import Source
from tfbn.training.objective import Objective


class Steps:
    """Training steps of one model, several in one call of a `tf.function`.

    Args:
        model, optimizer, objective: a built Keras model, and how and for what it is
            trained.
        source: where the batches come from.
        jit_compile: bool, whether XLA compiles the steps.
        on_nonfinite: what happens to a step whose loss or gradients are not finite.
            "ignore" applies it. "skip" leaves weights, averages, schedules and
            optimizer as they were and draws new noise in the next step. "stop" also
            leaves the seeds of the noise, and ends the call. A `LossScaleOptimizer`
            checks the gradients itself; only the loss is checked then.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        objective: Objective,
        source: Source,
        *,
        jit_compile: bool = False,
        on_nonfinite: str = "ignore",
    ):
        self._model = model
        self._optimizer = optimizer
        self._scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._objective = objective
        self._source = source
        self._names = list(objective.names)
        self._on_nonfinite = on_nonfinite
        if on_nonfinite != "ignore":
            self._names.append("skipped")
        optimizer.build(model.trainable_variables)
        self._step = traced(
            self._one_step,
            autograph=False,
            jit_compile=jit_compile,
            reduce_retracing=True,
        )
        self._run = traced(
            self._all_steps,
            input_signature=source.signature,
            reduce_retracing=source.signature is None,
        )

    def run(self, step: int, num_steps: int) -> dict[str, np.ndarray]:
        """Makes `num_steps` steps, the first of them number `step`.

        Returns:
            A dict of float32 arrays `[steps]`: loss, with penalties, and metrics of
            each step's batch before its update; unless such steps are ignored also
            "skipped", 1 for a step that was not finite and so was not applied, else 0.
            With "stop" such a step is the last one.
        """
        feed = self._source.feed(step, num_steps)
        return {name: values.numpy() for name, values in self._run(feed).items()}

    def _all_steps(self, feed):
        num_steps = tf.shape(tf.nest.flatten(feed)[0])[0]
        rows = tf.TensorArray(tf.float32, num_steps, element_shape=[len(self._names)])
        made, going = 0, True
        while going and made < num_steps:
            results = self._step_of(feed, made)
            rows = rows.write(made, tf.stack([results[name] for name in self._names]))
            made += 1
            if self._on_nonfinite == "stop":
                going = results["skipped"] == 0.0
        columns = tf.unstack(rows.stack()[:made], axis=1)
        return dict(zip(self._names, columns, strict=True))

    def _step_of(self, feed, i):
        """Makes the step of row `i` of a feed; returns its values by name."""
        return self._step(*self._source.batch(feed, i))

    def _one_step(self, x, y):
        kept = [(v, tf.identity(v.value)) for v in self._kept_if_not_finite()]
        losses, y_pred, gradients = self._gradients(x, y)
        results = losses | self._objective.metrics(y, y_pred)
        results = {name: tf.cast(v, tf.float32) for name, v in results.items()}
        variables = self._model.trainable_variables
        if self._on_nonfinite == "ignore":
            self._optimizer.apply(gradients, variables)
            return results

        def apply():
            self._optimizer.apply(gradients, variables)
            return 0.0

        def keep():
            for variable, value in kept:
                variable.assign(value)
            return 1.0

        checked = losses["loss"] if self._scales_loss else [losses["loss"], *gradients]
        results["skipped"] = tf.cond(all_finite(checked), apply, keep)
        return results

    def _kept_if_not_finite(self):
        """The variables that the forward pass changes and a skipped step restores."""
        if self._on_nonfinite == "ignore":
            return []
        if self._on_nonfinite == "skip":
            return self._model.non_trainable_weights  # without the seeds
        return self._model.non_trainable_variables

    def _gradients(self, x, y, share=None):
        """`(losses, predictions, gradients)`, scaled gradients for the optimizer.

        If there is a `share`, losses without penalties are multiplied by it.
        """
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            # TensorFlow allows names such as _Net in a scope only.
            with tf.name_scope("model"):
                y_pred = self._model(x, training=True)
            losses = self._objective.losses(y, y_pred)
            if share is not None:
                losses = {n: v * tf.cast(share, v.dtype) for n, v in losses.items()}
            loss = losses["loss"]
            penalties = [tf.cast(p, loss.dtype) for p in self._penalties()]
            losses["loss"] = loss = tf.add_n([loss, *penalties])
            scaled_loss = self._optimizer.scale_loss(loss)
        return losses, y_pred, tape.gradient(scaled_loss, variables)

    def _penalties(self):
        """What regularizers add to the loss."""
        return self._model.losses
