"""The compiled inner loop: steps of gradient descent, and evaluation."""

import functools

import keras
import tensorflow as tf

from tfbn.diagnostics.nonfinite import all_finite


class Steps:
    """Training steps of one model on one data set, in one traced `tf.function`.

    Args:
        model: a built Keras model.
        optimizer: a Keras optimizer.
        task: `Task`.
        dataset: `tfbn.data.Dataset`; it is held in device memory.
        jit_compile: bool, compile each step with XLA.
        on_nonfinite: what becomes of a step whose loss or gradients are not finite:
            "ignore" makes it; "skip" leaves weights, averages, the schedules' steps and
            the optimizer as they were, and draws other noise next time; "stop" leaves
            the seeds of the noise too, and makes no further step. Under a
            `LossScaleOptimizer`, which looks at the gradients itself, the loss counts
            alone.
    """

    def __init__(
        self,
        model,
        optimizer,
        task,
        dataset,
        *,
        jit_compile=False,
        on_nonfinite="ignore",
    ):
        self._model = model
        self._optimizer = optimizer
        self._scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        self._task = task
        self._names = ["loss"] if task.accuracy is None else ["loss", "accuracy"]
        self._on_nonfinite = on_nonfinite
        if on_nonfinite != "ignore":
            self._names.append("skipped")
        self._dataset = dataset
        self._train_split = _on_device(dataset.train)
        self._test_split = _on_device(dataset.test)
        optimizer.build(model.trainable_variables)
        # Partial, or TensorFlow takes the functions of several runs in one process for
        # one, by their code, and warns that it was traced anew.
        self._step = tf.function(
            functools.partial(self._step),
            autograph=False,
            jit_compile=jit_compile,
            reduce_retracing=True,
        )
        # Unknown sizes in the signature: another number of steps is no new trace.
        self._run = tf.function(
            functools.partial(self._run),
            input_signature=[tf.TensorSpec([None, None], tf.int64)],
        )
        self._evaluate_batch = tf.function(
            functools.partial(self._evaluate_batch),
            autograph=False,
            input_signature=[tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)],
        )

    def run(self, indices):
        """Makes one step for each row of `indices`.

        Args:
            indices: int64 `[steps, batch_size]`, examples of the training split.

        Returns:
            A dict of float32 arrays `[steps]`: "loss" and, where the task has one,
            "accuracy", each of the batch before its step; unless such steps are
            ignored, "skipped", 1 for a step that was not finite and so was not made,
            else 0. With "stop" such a step is the last one.
        """
        return {name: values.numpy() for name, values in self._run(indices).items()}

    def batch(self, indices):
        """The training batch `(x, y)` of the examples `indices` `[batch_size]`."""
        inputs, targets = self._train_split
        return self._dataset.standardize(tf.gather(inputs, indices)), tf.gather(
            targets, indices
        )

    def evaluate(self, batch_size):
        """Loss and accuracy on the test split, in inference mode, as floats."""
        size = len(self._dataset.test)
        totals = {}
        for begin in range(0, size, batch_size):
            end = min(begin + batch_size, size)
            weight = 1.0 if self._task.loss_is_sum else (end - begin) / size
            for name, value in self._evaluate_batch(begin, end).items():
                totals[name] = totals.get(name, 0.0) + weight * float(value)
        return totals

    def _run(self, indices):
        num_steps = tf.shape(indices)[0]
        rows = tf.TensorArray(tf.float32, num_steps, element_shape=[len(self._names)])
        made, going = 0, True
        while going and made < num_steps:
            x, y = self.batch(indices[made])
            results = self._step(x, y)
            rows = rows.write(made, tf.stack([results[name] for name in self._names]))
            made += 1
            if self._on_nonfinite == "stop":
                going = results["skipped"] == 0.0
        columns = tf.unstack(rows.stack()[:made], axis=1)
        return dict(zip(self._names, columns, strict=True))

    def _step(self, x, y):
        kept = [(v, tf.identity(v.value)) for v in self._kept_if_not_finite()]
        loss, y_pred, gradients = self._gradients(x, y)
        results = self._results(y, y_pred, loss)
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

        looked_at = [loss] if self._scales_loss else [loss, *gradients]
        results["skipped"] = tf.cond(all_finite(looked_at), apply, keep)
        return results

    def _kept_if_not_finite(self):
        """The variables that the forward pass changes, and that a skipped one keeps."""
        if self._on_nonfinite == "ignore":
            return []
        if self._on_nonfinite == "skip":
            return self._model.non_trainable_weights  # no seeds among them
        return self._model.non_trainable_variables

    def _gradients(self, x, y):
        """`(loss, predictions, gradients)`, the gradients scaled as the optimizer's."""
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            y_pred = self._model(x, training=True)
            loss = self._task.loss(y, y_pred)
            penalties = [tf.cast(p, loss.dtype) for p in self._model.losses]
            loss = tf.add_n([loss, *penalties])
            scaled_loss = self._optimizer.scale_loss(loss)
        return loss, y_pred, tape.gradient(scaled_loss, variables)

    def _evaluate_batch(self, begin, end):
        inputs, targets = (part[begin:end] for part in self._test_split)
        y_pred = self._model(self._dataset.standardize(inputs), training=False)
        return self._results(targets, y_pred, self._task.loss(targets, y_pred))

    def _results(self, y, y_pred, loss):
        results = {"loss": tf.cast(loss, tf.float32)}
        if self._task.accuracy is not None:
            results["accuracy"] = self._task.accuracy(y, y_pred)
        return results


def _on_device(split):
    return tf.constant(split.inputs), tf.constant(split.targets)
