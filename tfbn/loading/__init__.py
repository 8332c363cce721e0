"""Weights files of Keras, tf_keras and tfbn, for models with other norm layers."""

import os
import tempfile

import keras

from tfbn.loading import hdf5
from tfbn.loading import legacy
from tfbn.loading import native


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads weights into a model whose batch-norm layers are of other classes.

    `model.load_weights` pairs the layers of a `.weights.h5` or `.keras` file by class,
    and counts the weights of a legacy `.h5`: files of a model with Keras's layers do
    not fit the same model with tfbn's, or the other way round. This function reads
    files of Keras 3, tf_keras and tfbn into any mix of Keras's and tfbn's layers.

    What a batch-norm layer receives gives the same inference:

    - the layers without renorm (Keras's, `BatchNorm`, `NoisyBatchNorm`): gamma, beta,
      moving_mean and moving_variance of any batch-norm layer.
    - `BatchRenorm` and Keras's with `renorm=True`: these and moving_stddev, renorm_mean
      and renorm_stddev; of a layer without renorm, the moving averages serve as the
      renorm averages, with `moving_stddev = sqrt(moving_variance + epsilon)`. The
      `step` of a BatchRenorm stays, unless the file has one.
    - `LpBatchNorm`: the weights of an `LpBatchNorm`.

    Layers are paired as Keras does, but for the batch-norm layers:

    - legacy `.h5`: in the order of `model.layers`, of those that have weights.
    - `.weights.h5`, `.keras`: by attribute, and in a list, such as the layers of a
      functional model, by class and the order among layers of that class. Where the
      classes of batch-norm layers are not the same in file and model, or there are
      several, these layers are paired by name, if all names are the same, and else in
      order. The file does not hold the order between layers of several classes: if
      these differ from the model's, names are needed.

    The optimizer keeps its state. From a `.weights.h5` or `.keras` file, the converted
    weights go through a temporary file.

    Args:
        model: a built model.
        path: str or path, a `.weights.h5`, `.keras` or legacy `.h5` file, of weights or
            of a whole model. Its contents tell which.

    Raises:
        ValueError: if the file cannot be read or does not fit the model, or the model
            is not built. The model is then as before.

    Example:

    ```python
    tfbn.load_weights(model, "trained_with_keras.weights.h5")
    ```
    """
    if not model.built:
        raise ValueError(
            f"model must be built. Received: {model.name}, which has no weights yet. "
            "Call it on a batch, or build it."
        )
    with hdf5.opened(path) as file:
        if hdf5.is_legacy(file):
            for variable, value in legacy.assignments(model, file):
                variable.assign(value)
        else:
            with tempfile.TemporaryDirectory() as folder:
                converted = os.path.join(folder, "model.weights.h5")
                native.convert(model, file, converted)
                model.load_weights(converted)
