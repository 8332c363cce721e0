"""Options of the diagnostics, as their declarations state them."""

import dataclasses

from tfbn import diagnostics
from tfbn.diagnostics import Need
from tfbn.experiment import model_files
from tfbn.experiment.norms import NORMS
from tfbn.experiment.section import Section
from tfbn.options import Option
from tfbn.recording import cadence

DIAGNOSTICS = {
    name: diagnostic
    for name, diagnostic in diagnostics.registry.items()
    if diagnostic.during_training
}
_SPACING = Option(
    "diagnostics_spacing",
    "linear",
    "Steps between measurements: constant (linear), or growing to about a tenth of the "
    "step (log), in multiples of the number given.",
    choices=cadence.SPACINGS,
)


_MET_BY_NORMS = {need for norm in NORMS.values() for need in norm.provides}


def every(config) -> dict[str, int]:
    """The steps between the measurements of each diagnostic, by name; 0: never."""
    return {name: getattr(config, d.every.name) for name, d in DIAGNOSTICS.items()}


def chosen(config) -> dict[str, dict]:
    """The values of the options of each diagnostic, by name."""
    return {
        name: {o.name: getattr(config, flag) for flag, o in d.flags.items()}
        for name, d in DIAGNOSTICS.items()
    }


def _options():
    yield _SPACING
    for diagnostic in DIAGNOSTICS.values():
        yield diagnostic.every
        for flag, option in diagnostic.flags.items():
            yield dataclasses.replace(option, name=flag)


def _check(config):
    for diagnostic in DIAGNOSTICS.values():
        _check_rising(config, diagnostic)
    for name, steps in every(config).items():
        if not steps:
            continue
        diagnostic = DIAGNOSTICS[name]
        received = f"{diagnostic.every.name}={steps}"
        for need in diagnostic.needs & _MET_BY_NORMS:
            _check_norm(config, diagnostic.every.name, need, received)
        if Need.BATCH_STATISTICS in diagnostic.needs:
            _check_whole_batch(config, diagnostic.every.name, received)
        if Need.SECOND_MODEL in diagnostic.needs and model_files.is_path(config.model):
            raise ValueError(
                f"{diagnostic.every.name} needs {Need.SECOND_MODEL.value}, so a model "
                f"that is built here. Received: {received}, model={config.model}."
            )


def _check_rising(config, diagnostic):
    # Read by scripts/diagnose.py even if the run itself measures nothing.
    flags = {option.name: flag for flag, option in diagnostic.flags.items()}
    for low, high in ((flags[a], flags[b]) for a, b in diagnostic.rising):
        if getattr(config, low) >= getattr(config, high):
            raise ValueError(
                f"{low} must be less than {high}. Received: "
                f"{low}={getattr(config, low)}, {high}={getattr(config, high)}."
            )


def _check_norm(config, name, need, received):
    if config.takes("norm") and need not in NORMS[config.norm].provides:
        fitting = " or ".join(n for n, norm in NORMS.items() if need in norm.provides)
        raise ValueError(
            f"{name} needs {need.value}: norm={fitting}. Received: {received}, "
            f"norm={config.norm}."
        )


def _check_whole_batch(config, name, received):
    if config.virtual_batch_size:
        raise ValueError(
            f"virtual_batch_size must be 0 with {name}, which needs statistics of the "
            f"whole batch. Received: virtual_batch_size={config.virtual_batch_size}, "
            f"{received}."
        )


SECTION = Section("Measurements", tuple(_options()), _check)
