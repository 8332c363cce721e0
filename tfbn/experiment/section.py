"""`Section` and `Choice`: what the options of a run are made of."""

import dataclasses
from collections.abc import Callable
from typing import Any

from tfbn.options import Option


@dataclasses.dataclass(frozen=True)
class Choice:
    """An option whose value decides which other options apply.

    Attributes:
        name: str, the option that chooses an entry of a registry.
        dependent: the options that only some entries take.
        taken: function from the option's value to those of them that its entry takes.
    """

    name: str
    dependent: tuple[Option, ...]
    taken: Callable[[str], tuple[Option, ...]]


@dataclasses.dataclass(frozen=True)
class Section:
    """A group of options.

    Attributes:
        title: str, its heading in a script's help.
        options: its options, in order.
        check: function that raises a ValueError if a `TrainConfig` combines options in
            a way that cannot work.
        choices: those of its options that decide which others apply.
    """

    title: str
    options: tuple[Option, ...]
    check: Callable[[Any], None] = lambda config: None
    choices: tuple[Choice, ...] = ()


def choice_of(registry) -> Choice:
    """The `Choice` among the entries of a `Registry`."""
    return Choice(
        registry.argument, registry.options, lambda name: registry[name].options
    )
