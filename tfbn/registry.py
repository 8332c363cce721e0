"""`Registry`: the entries that one option chooses among, by name.

An entry declares the options that it takes. An unknown name is an error, and so is an
option that the chosen entry does not take: no setting is silently ignored.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from tfbn import validation
from tfbn.options import Option


class Registry(Mapping[str, Any]):
    """An ordered mapping from name to entry.

    Args:
        argument: str, the option that names an entry, for messages.
        *entries: objects with `name` (str) and `options` (tuple of `Option`).

    Raises:
        ValueError: from `registry[name]`, if there is no such entry; the message lists
            the names and suggests the nearest.
    """

    def __init__(self, argument: str, *entries: Any):
        self.argument = argument
        self._entries = {entry.name: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise ValueError(f"{argument}: two entries share a name: {[*entries]}.")
        self.options = distinct(o for entry in entries for o in entry.options)

    def __getitem__(self, name: str) -> Any:
        return self._entries[validation.choice(self.argument, name, self.names)]

    def get(self, name: object, default: Any = None) -> Any:
        """The entry, or `default` if there is none."""
        return self._entries.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
        return tuple(self._entries)


def distinct(options: Iterable[Option]) -> tuple[Option, ...]:
    """The options without repetitions.

    Raises:
        ValueError: if two different ones share a name.
    """
    by_name: dict[str, Option] = {}
    for option in options:
        if by_name.setdefault(option.name, option) != option:
            raise ValueError(f"Two different options are named {option.name}.")
    return tuple(by_name.values())
