"""Errors of runs whose numbers are not finite."""

from tfbn.diagnostics import NonFinite


class NonFiniteError(FloatingPointError):
    """The loss, the gradients or the weights of a run are not finite."""


def of_step(
    step: int, loss: float, found: NonFinite | None, checkpoint: int | None
) -> NonFiniteError:
    """The error of a step that ends a run.

    Args:
        step: steps made before it.
        loss: the loss of the step.
        found: its origin, or None if a second pass was finite.
        checkpoint: the step of the newest checkpoint, or None.
    """
    subject = f"The loss is {loss:.4g} at step {step}"
    if found is None:
        place = "a second pass, layer by layer, was finite"
    else:
        place = f"first not finite: the {found.what} of {found.layer}"
        if found.what == "gradient":
            subject = f"The gradient is not finite at step {step}"
    return NonFiniteError(
        f"{subject}; {place}. {_kept(checkpoint)} Resume with on_nonfinite=skip to "
        "leave such steps out, or start a new run with a lower learning rate."
    )


def of_weights(step: int, path: str, checkpoint: int | None) -> NonFiniteError:
    """The error of weights that an update has made infinite or NaN.

    Args:
        step: steps made.
        path: of the first variable that is not finite.
        checkpoint: the step of the newest checkpoint, or None.
    """
    return NonFiniteError(
        f"The weights are not finite after step {step}; the first: {path}. "
        f"{_kept(checkpoint)} Start a new run with a lower learning rate."
    )


def _kept(checkpoint):
    if checkpoint is None:
        return "There is no checkpoint yet."
    return f"The newest checkpoint, of step {checkpoint}, is intact."
