"""A user's own network: models in `.keras` files."""

import os

import keras

from tfbn.data.dataset import Dataset

_SUFFIX = ".keras"


def is_path(name: object) -> bool:
    """Whether `name` stands for such a file."""
    return str(name).endswith(_SUFFIX)


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads a model from a `.keras` file without running code from the file.

    Raises:
        ValueError: if there is no such file, it is damaged, or it holds Lambda layers
            or layers that neither Keras nor tfbn knows.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise ValueError(
            f"model must be a {_SUFFIX} file. Received: model={path}, which does not "
            "exist."
        )
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises errors of many types
        raise ValueError(
            f"model must be a file that Keras saved. Received: {path}. {_reason(error)}"
        ) from error


def gives_probabilities(layer: keras.layers.Layer) -> bool:
    """Whether a model, or its last layer, ends in a softmax."""
    if isinstance(layer, keras.Model):
        return bool(layer.layers) and gives_probabilities(layer.layers[-1])
    softmax = keras.activations.softmax
    return (
        isinstance(layer, keras.layers.Softmax)
        or getattr(layer, "activation", None) is softmax
    )


def check_fits(model: keras.Model, dataset: Dataset) -> None:
    """Raises a ValueError unless the model's inputs and outputs are the data's.

    Losses would broadcast outputs of another shape, or fail with obscure messages.
    """
    wanted = (dataset.num_outputs,)
    try:
        outputs = model(dataset.standardize(dataset.train.inputs[:1]))
        found = f"returns outputs of shape {tuple(outputs.shape[1:])}"
    except Exception:  # models raise errors of many types
        found = f"takes inputs of shape {getattr(model, 'input_shape', 'unknown')}"
    if found != f"returns outputs of shape {wanted}":
        raise ValueError(
            f"model must map inputs of shape {dataset.input_shape} to outputs of shape "
            f"{wanted}, as dataset={dataset.name} needs. Received: a model that "
            f"{found}."
        )


def _reason(error):
    """The innermost reason in Keras's message, without the configs beside it."""
    reason = str(error).rpartition("Exception encountered: ")[2].strip()
    return reason.partition("\n")[0].partition(" Full object config: ")[0]
