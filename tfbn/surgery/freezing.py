"""Freezes the batch-norm layers of a model."""

import keras

from tfbn import validation
from tfbn.surgery import finding


def freeze_batch_norm(model: keras.Model) -> int:
    """Sets `trainable = False` on every batch-norm layer of a model, at any depth.

    Training then computes in these layers what inference does, with the averages that
    they have, which no longer move, and gamma and beta are constants. That is what the
    fine-tuning of a trained model at small batches usually begins with.

    Keras reads the flag when it traces the training step: call `model.compile` after
    this function, not before.

    Args:
        model: a Keras model, built or not. It is changed.

    Returns:
        The number of batch-norm layers in the model.

    Raises:
        ValueError: if it has none.
    """
    return _set_trainable(model, False)


def unfreeze_batch_norm(model: keras.Model) -> int:
    """Sets `trainable = True` on every batch-norm layer of a model, at any depth.

    In a model that is itself frozen (`model.trainable = False`), the averages then move
    and no weight does, gamma and beta included. Call `model.compile` after this
    function.

    Args:
        model: a Keras model, built or not. It is changed.

    Returns:
        The number of batch-norm layers in the model.

    Raises:
        ValueError: if it has none.
    """
    return _set_trainable(model, True)


def _set_trainable(model, value):
    validation.keras_model(model)
    layers = finding.batch_norms(model)
    if not layers:
        raise ValueError(
            f"model must contain batch-norm layers. Received: {model.name}, which has "
            "none."
        )
    for layer in layers:
        layer.trainable = value
    return len(layers)
