"""The loss that a model was compiled with, as a function."""

import keras

from tfbn import _compat
from tfbn.diagnostics.loss_function import Loss


def compiled_loss(model: keras.Model) -> Loss:
    """Returns the loss that a model was compiled with, as `loss(y_true, y_pred)`.

    Not `model.compute_loss`: that adds the penalties, and tracks the losses of several
    outputs in metrics of the model.
    """
    compiled = _compat.compile_loss(model)
    if compiled is None or type(model).compute_loss is not keras.Model.compute_loss:
        why = "has none" if compiled is None else "has a compute_loss of its own"
        raise ValueError(
            "loss must be given where a model is not compiled with it. Received: "
            f"loss=None, and {model.name} {why}. Give loss=FUNCTION."
        )
    own = _compat.copy_compile_loss(compiled)

    def loss(y_true, y_pred):
        if not own.built:
            return own(y_true, y_pred)  # makes those metrics
        with keras.StatelessScope():
            return own(y_true, y_pred)

    return loss
