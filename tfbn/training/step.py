"""The compiled inner loop: steps of gradient descent, and evaluation."""

import tensorflow as tf


class Steps:
    """Training steps of one model on one data set, in one traced `tf.function`.

    Args:
        model: a built Keras model.
        optimizer: a Keras optimizer.
        task: `Task`.
        dataset: `tfbn.data.Dataset`; it is held in device memory.
        jit_compile: bool, compile each step with XLA.
    """

    def __init__(self, model, optimizer, task, dataset, *, jit_compile=False):
        self._model = model
        self._optimizer = optimizer
        self._task = task
        self._names = ["loss"] if task.accuracy is None else ["loss", "accuracy"]
        self._dataset = dataset
        self._train_split = _on_device(dataset.train)
        self._test_split = _on_device(dataset.test)
        optimizer.build(model.trainable_variables)
        self._step = tf.function(
            self._step, autograph=False, jit_compile=jit_compile, reduce_retracing=True
        )
        # Unknown sizes in the signature: another number of steps is no new trace.
        self._run = tf.function(
            self._run, input_signature=[tf.TensorSpec([None, None], tf.int64)]
        )
        self._evaluate_batch = tf.function(
            self._evaluate_batch,
            autograph=False,
            input_signature=[tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)],
        )

    def run(self, indices):
        """Makes one step for each row of `indices`.

        Args:
            indices: int64 `[steps, batch_size]`, examples of the training split.

        Returns:
            A dict of float32 arrays `[steps]`: "loss" and, where the task has one,
            "accuracy", each of the batch before its step.
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
        for i in tf.range(num_steps):
            x, y = self.batch(indices[i])
            results = self._step(x, y)
            rows = rows.write(i, tf.stack([results[name] for name in self._names]))
        columns = tf.unstack(rows.stack(), axis=1)
        return dict(zip(self._names, columns, strict=True))

    def _step(self, x, y):
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            y_pred = self._model(x, training=True)
            loss = self._task.loss(y, y_pred)
            penalties = [tf.cast(p, loss.dtype) for p in self._model.losses]
            loss = tf.add_n([loss, *penalties])
            scaled_loss = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, variables)
        self._optimizer.apply(gradients, variables)
        return self._results(y, y_pred, loss)

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
