"""Loss and accuracy against the step."""

from matplotlib.figure import Figure

from tfbn.plots.legend import add_legend
from tfbn.plots.lines import draw_points
from tfbn.plots.lines import draw_smoothed
from tfbn.plots.lines import line_handle
from tfbn.plots.lines import shaded
from tfbn.plots.panels import grid
from tfbn.plots.panels import scale
from tfbn.plots.runs import Runs
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import require
from tfbn.plots.runs import series
from tfbn.plots.runs import styled

# What is mixed into the colours of the runs, which both lines would share.
_TRAINING, _TEST = ("white", 0.5), ("black", 0.3)
# Name in the records -> label of the value axis.
_CURVES = {"loss": "loss", "accuracy": "accuracy (fraction correct)"}


def learning_curves(runs: Runs, *, log_steps: bool = False) -> Figure:
    """Draws loss and accuracy against the step.

    Training is a pale line over the faint values that it smooths (a centred mean over
    about a 30th of the records), test a dark line with markers. The loss axis is
    logarithmic if the losses span more than two decades. Without any accuracy there is
    one panel.

    Args:
        runs: label -> records; uses the kinds "train" and "eval".
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has a loss or an accuracy.
    """
    known = styled(runs)
    panels = {
        name: (series(known, "train", name), series(known, "eval", name))
        for name in _CURVES
    }
    panels = {name: curves for name, curves in panels.items() if any(curves)}
    require(panels, "losses or accuracies", runs)
    figure, axes = grid("Learning curves", 1, len(panels), log_steps)
    for axis, (name, (train, test)) in zip(axes.flat, panels.items(), strict=True):
        scale(axis, train + test, log=name == "loss" and is_wide(train + test))
        for curve in train:
            draw_smoothed(axis, shaded(curve, *_TRAINING))
        for curve in test:
            draw_points(axis, shaded(curve, *_TEST))
        axis.set(title=name.capitalize(), ylabel=_CURVES[name])
    everything = [c for curves in panels.values() for group in curves for c in group]
    add_legend(figure, everything, _style_handles(panels.values()))
    return figure


def _style_handles(panels):
    train, test = (any(curves) for curves in zip(*panels, strict=True))
    handles = {}
    if train:
        handles["training"] = line_handle(color="0.65")
    if test:
        handles["test"] = line_handle(color="0.2", linewidth=1.8, marker="o")
    return handles
