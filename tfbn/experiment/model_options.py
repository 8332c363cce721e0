"""Options of the network."""

from collections.abc import Mapping

import keras

from tfbn import validation
from tfbn.experiment import model_files
from tfbn.experiment.norm_options import NORM
from tfbn.experiment.section import Choice
from tfbn.experiment.section import Section
from tfbn.models.registry import NETWORKS
from tfbn.options import Option

# Options of every network that is built here; a saved model brings its own.
_OF_BUILT = (
    Option(
        "kernel_scale",
        1.0,
        "Multiplies the kernels' initial values, including the logits'.",
        above=0.0,
    ),
    Option(
        "dtype_policy",
        "float32",
        "Keras dtype policy.",
        choices=("float32", "mixed_bfloat16", "mixed_float16", "float64"),
    ),
)


def _taken(model):
    if model_files.is_path(model):
        return ()
    return (*NETWORKS[model].options, *_OF_BUILT, NORM)


def check_model(model: str) -> None:
    """Raises a ValueError unless `model` is a network's name or a file's."""
    names = NETWORKS.names
    if model not in names and not model_files.is_path(model):
        raise ValueError(
            f"model must be one of {', '.join(map(repr, names))}, or a .keras file. "
            f"Received: model={validation.shown(model)}."
            f"{validation.suggestion(model, names)}"
        )


def defaults_of(model: str) -> Mapping[str, str]:
    """What "default" means for the model's options, by name."""
    return NETWORKS[model].defaults if model in NETWORKS else {}


def _check(config):
    if config.kernel_initializer != "default":
        validation.keras_object(
            "kernel_initializer", config.kernel_initializer, keras.initializers
        )


SECTION = Section(
    "Network",
    (
        Option(
            "model", "vgg", f"Network: {', '.join(NETWORKS.names)}, or a .keras file."
        ),
        *NETWORKS.options,
        *_OF_BUILT,
    ),
    _check,
    (Choice("model", (*NETWORKS.options, *_OF_BUILT, NORM), _taken),),
)
