"""Evaluation in training mode: with the statistics of the batches themselves."""

import functools

import numpy as np
import tensorflow as tf

from tfbn import data

_MOST_BATCHES = 40


def evaluation(config, model, task, dataset):
    """The evaluation in training mode that a `TrainConfig` asks for, or None.

    Its batches are drawn from the test split as the training batches are from theirs,
    with the run's seed and training_mode_batch_size. They are as many as hold about as
    many examples as the split, and at most 40, the same ones in each evaluation. With
    domain-biased sampling each is of one domain, and the domains take turns batch by
    batch: steps_per_domain could be more than there are batches.

    Args:
        config: `TrainConfig`.
        model: the run's built model.
        task: `Task`.
        dataset: `tfbn.data.Dataset`.

    Raises:
        ValueError: if there can be no such batches.
    """
    if not config.eval_in_training_mode:
        return None
    batches = _test_batches(config, dataset.test)
    num_batches = min(_MOST_BATCHES, max(1, len(dataset.test) // batches.batch_size))
    return TrainingModeEvaluation(model, task, dataset, batches, num_batches)


class TrainingModeEvaluation:
    """Loss and accuracy on batches of the test split in training mode.

    How Ioffe 2017 (arXiv 1702.03275, sec. 4.3) tells why batch normalisation fails on
    batches that are not i.i.d.: with statistics of such batches it does better than
    with the moving averages. Batch Renormalization corrects by the r and d of the
    present step; dropout and noise are those of the step that comes next, in each
    batch. No state changes: averages, schedules' steps and seeds stay as they are.

    Cost: a forward pass on each batch.

    Args:
        model: a built functional Keras model.
        task: `Task`.
        dataset: `tfbn.data.Dataset`.
        batches: sampler of its test split, with `batch_size` and `indices(step)`.
        num_batches: int > 0; batches 0 to `num_batches - 1` are taken.
    """

    def __init__(self, model, task, dataset, batches, num_batches):
        self._model = model
        self._task = task
        self._dataset = dataset
        self._batches = batches
        self._num_batches = num_batches
        # Partial: see `Steps`.
        self._evaluate_batch = tf.function(
            functools.partial(self._evaluate_batch),
            autograph=False,
            input_signature=[
                tf.TensorSpec([batches.batch_size, *part.shape[1:]], part.dtype)
                for part in (dataset.test.inputs, dataset.test.targets)
            ],
        )

    def __call__(self):
        """A dict of floats: "loss" and, where the task has one, "accuracy".

        Means over the batches, which are equally large; a loss that is a sum is scaled
        to the size of the test split, and so compares with that of an evaluation.
        """
        split = self._dataset.test
        rows = []
        for step in range(self._num_batches):
            indices = self._batches.indices(step)
            results = self._evaluate_batch(
                split.inputs[indices], split.targets[indices]
            )
            rows.append({name: float(value) for name, value in results.items()})
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if self._task.loss_is_sum:
            means["loss"] *= len(split) / self._batches.batch_size
        return means

    def _evaluate_batch(self, inputs, targets):
        model, task = self._model, self._task
        y_pred, _ = model.stateless_call(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            self._dataset.standardize(inputs),
            training=True,
        )
        results = {"loss": tf.cast(task.loss(targets, y_pred), tf.float32)}
        if task.accuracy is not None:
            results["accuracy"] = task.accuracy(targets, y_pred)
        return results


def _test_batches(config, split):
    size = config.training_mode_batch_size
    try:
        return data.make_batches(
            config.sampling,
            split,
            batch_size=size,
            seed=config.seed,
            images_per_label=config.images_per_label,
            steps_per_domain=1,
        )
    except ValueError as error:
        raise ValueError(
            "training_mode_batch_size must be one that batches of the test split can "
            f"have. Received: training_mode_batch_size={size}. In them, {error}"
        ) from error
