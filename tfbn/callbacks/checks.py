"""Checks of what a `Diagnostics` callback is given."""

import os
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from tfbn import validation
from tfbn.diagnostics import Meter
from tfbn.diagnostics import registry

NAMES = tuple(
    name for name, d in registry.items() if d.during_training and d.on_one_batch
)


def checked_folder(log_dir: Any) -> str | None:
    """Returns the path of a folder, or None."""
    if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
        raise ValueError(
            "log_dir must be a path or None. Received: "
            f"log_dir={validation.shown(log_dir)}."
        )
    return None if log_dir is None else os.fspath(log_dir)


def checked_diagnostics(diagnostics: Any) -> Callable | list[str]:
    """Returns the function, or a list of names without repetitions."""
    if callable(diagnostics):
        return diagnostics
    if not isinstance(diagnostics, (list, tuple)) or not diagnostics:
        raise ValueError(
            "diagnostics must be a list of names, one or more, or a function from a "
            "model to a list of Meter. Received: diagnostics="
            f"{validation.shown(diagnostics)}. "
            'Such as diagnostics=["ics", "landscape"].'
        )
    return [
        validation.choice("diagnostics", name, NAMES)
        for name in dict.fromkeys(diagnostics)
    ]


def checked_options(options: Any) -> dict[str, Mapping[str, Any]]:
    """Returns the options of each diagnostic, by its name."""
    valid = isinstance(options, Mapping) and all(
        isinstance(values, Mapping) for values in options.values()
    )
    if not valid:
        raise ValueError(
            "options must be a mapping from names of diagnostics to mappings. Received:"
            f" options={validation.shown(options)}. "
            'Such as options={"curvature": {"iterations": 50}}.'
        )
    return {validation.choice("options", name, NAMES): v for name, v in options.items()}


def checked_meters(meters: Any) -> list[Meter]:
    """Returns what a function of meters returned, as a list."""
    is_list = isinstance(meters, (list, tuple))
    if not is_list or not all(isinstance(meter, Meter) for meter in meters):
        raise ValueError(
            "diagnostics(model) must return a list of tfbn.diagnostics.Meter. "
            f"Received: {meters!r}. Use meters such as CovariateShiftMeter, or a "
            "subclass of Meter."
        )
    return list(meters)
