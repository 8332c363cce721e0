"""`TrainConfig`: the one list of a run's options, from which its flags are made."""

import dataclasses
import typing
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from tfbn import validation
from tfbn.experiment import data_options
from tfbn.experiment import distribution_options
from tfbn.experiment import loop_options
from tfbn.experiment import model_options
from tfbn.experiment import norm_options
from tfbn.experiment import optimisation_options
from tfbn.experiment import watching_options
from tfbn.options import Option

SECTIONS = (
    model_options.SECTION,
    norm_options.SECTION,
    data_options.SECTION,
    optimisation_options.SECTION,
    loop_options.SECTION,
    distribution_options.SECTION,
    watching_options.SECTION,
)
OPTIONS: Mapping[str, Option] = {
    option.name: option for section in SECTIONS for option in section.options
}
# In this order: a model that is loaded takes no norm, so no option of a norm either.
_CHOICES = tuple(choice for section in SECTIONS for choice in section.choices)


def _with_options(cls):
    """The dataclass with a field for each option."""
    cls.__annotations__ = {
        option.name: tuple[int, ...] if option.type is tuple else option.type
        for option in OPTIONS.values()
    }
    for option in OPTIONS.values():
        setattr(cls, option.name, option.default)
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


@_with_options
class TrainConfig:
    """The options of a training run: a frozen dataclass with a field for each.

    `tfbn.experiment.config.OPTIONS` describes the fields, by name.

    Raises:
        ValueError: if a value breaks its rule, options contradict each other, or one
            differs from its default although what is chosen (the model, the norm, ...)
            does not take it.
    """

    if typing.TYPE_CHECKING:

        def __init__(self, **options: Any): ...

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self):
        for option in OPTIONS.values():
            value = option.checked(getattr(self, option.name))
            object.__setattr__(self, option.name, value)
        model_options.check_model(self.model)
        for name, choice in not_taken(vars(self)).items():
            if getattr(self, name) != OPTIONS[name].default:
                raise ValueError(_not_an_option(self, name, choice))
        for section in SECTIONS:
            section.check(self)

    def takes(self, name: str) -> bool:
        """Whether an option applies to what is chosen."""
        return name not in not_taken(vars(self))

    def taken(self, options: Iterable[Option]) -> dict[str, Any]:
        """The values of options, such as an entry's, by name."""
        return {option.name: getattr(self, option.name) for option in options}


def not_taken(values: Mapping[str, Any]) -> dict[str, str]:
    """The options that do not apply, given the values of those that choose.

    Args:
        values: values of options by name; a missing one has its default.

    Returns:
        A dict from the name of such an option to that of the option whose value, such
        as `norm="none"`, rules it out.

    Raises:
        ValueError: if a value names no entry.
    """
    found: dict[str, str] = {}
    for choice in _CHOICES:
        taken: tuple[Option, ...] = ()
        reason = found.get(choice.name, choice.name)
        if reason == choice.name:
            taken = choice.taken(values.get(reason, OPTIONS[reason].default))
        found |= {o.name: reason for o in choice.dependent if o not in taken}
    return found


def to_flags(config: TrainConfig, *, without: Iterable[str] = ()) -> list[str]:
    """The flags that give `config`, `--name=value`, of the options that apply.

    Args:
        config: a `TrainConfig`.
        without: names of options to leave out.
    """
    ruled_out = not_taken(vars(config))
    return [
        f"--{name}={option.text(_resolved(config, name))}"
        for name, option in OPTIONS.items()
        if name not in ruled_out and name not in without
    ]


def _resolved(config, name):
    """The value, or what "default" means for the model."""
    value = getattr(config, name)
    if value == "default":
        return model_options.defaults_of(config.model).get(name, value)
    return value


def _not_an_option(config, name, choice):
    chosen = f"{choice}={getattr(config, choice)}"
    taken = [n for n in _dependent(choice) if config.takes(n)]
    return (
        f"{name} is not an option of {chosen}. Received: {name}="
        f"{validation.shown(getattr(config, name))}, {chosen}, which takes "
        f"{', '.join(taken) or 'no options'}."
    )


def _dependent(name):
    return [o.name for c in _CHOICES if c.name == name for o in c.dependent]
