"""What is said when a run comes to numbers that are not finite."""


class NonFiniteError(FloatingPointError):
    """The loss, the gradients or the weights of a run are not finite."""


def of_step(step, loss, found, checkpoint):
    """The error of a step that ends a run.

    Args:
        step: int, steps made before it.
        loss: float, of the step.
        found: `diagnostics.NonFinite`, or None where a second look finds nothing.
        checkpoint: int or None, the step of the newest checkpoint.
    """
    subject = f"The loss is {loss:.4g} at step {step}"
    if found is None:
        place = "a second pass, layer by layer, came to finite numbers"
    else:
        place = f"first not finite: the {found.what} of {found.layer}"
        if found.what == "gradient":
            subject = f"The gradient is not finite at step {step}"
    return NonFiniteError(
        f"{subject}; {place}. {_kept(checkpoint)} The run goes on with "
        "--on_nonfinite=skip; a lower --learning_rate takes a new one."
    )


def of_weights(step, path, checkpoint):
    """The error of weights that an update has taken out of range.

    Args:
        step: int, steps made.
        path: str, of the first variable that is not finite.
        checkpoint: int or None, the step of the newest checkpoint.
    """
    return NonFiniteError(
        f"The weights are not finite after step {step}; the first: {path}. "
        f"{_kept(checkpoint)} A lower --learning_rate takes a new run."
    )


def _kept(checkpoint):
    if checkpoint is None:
        return "There is no checkpoint yet."
    return f"The newest checkpoint, of step {checkpoint}, is as it was."
