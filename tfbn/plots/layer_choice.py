"""Which layers a figure shows: the user's choice, or a few that tell the most."""

from collections.abc import Iterable
from collections.abc import Sequence

from tfbn.plots.runs import Layers
from tfbn.plots.runs import NothingToDraw


def chosen(
    measured: Sequence[Layers], layers: Sequence[str] | None, first: bool = True
) -> list[str]:
    """Returns the names of the layers to draw, in the order in which to draw them.

    Args:
        measured: the runs' layers.
        layers: the user's choice. Default: the second, the middle and the last of
            those that all runs have.
        first: whether the first layer is drawn where there is no other.

    Raises:
        ValueError: if `layers` is empty or names one that no run has.
        NothingToDraw: if `layers` is not given and there is no such layer.
    """
    if layers is not None:
        return picked(measured, layers)
    known = known_layers(measured)
    firsts = {next(iter(run.table)) for run in measured}
    shared = [name for name in known if all(name in run.table for run in measured)]
    names = [name for name in shared if name not in firsts] or (shared if first else [])
    if not names:
        others = "layer" if first else "layer besides the first"
        raise NothingToDraw(
            f"No {others} is in every run. Received layers: {', '.join(known)}. "
            "Choose by `layers`."
        )
    count = len(names)
    return [names[i] for i in sorted({0, (count - 1) // 2, count - 1})]


def picked(measured: Iterable[Layers], layers: Sequence[str]) -> list[str]:
    """Returns the user's choice of layers, each once; see `check_layers`."""
    check_layers(layers, known_layers(measured))
    return list(dict.fromkeys(layers))


def known_layers(measured: Iterable[Layers]) -> list[str]:
    """Returns the names of the layers of all runs, each once."""
    return list(dict.fromkeys(name for run in measured for name in run.table))


def check_layers(layers: Sequence[str], known: Sequence[str]) -> None:
    """Raises a ValueError unless all of `layers`, and at least one, are known."""
    if not layers or any(name not in known for name in layers):
        error = ValueError if layers else NothingToDraw
        raise error(
            f"`layers` must be among {', '.join(known)}. "
            f"Received: layers={','.join(layers)}."
        )
