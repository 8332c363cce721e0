"""What the runs of an experiment measured."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from tfbn.recording.records import by_layer

Records = Sequence[Mapping]


@dataclasses.dataclass(frozen=True)
class Results:
    """The records of an experiment's runs.

    Attributes:
        scale: str, one of `experiment.SCALES`.
        records: label -> the records of its runs, one list a seed.
        about: what else is known: `machine`, `versions` and `date`.
    """

    scale: str
    records: Mapping[str, Sequence[Records]]
    about: Mapping = dataclasses.field(default_factory=dict)

    def groups(self, labels: Mapping[str, str]) -> dict[str, Sequence[Records]]:
        """All seeds of some runs.

        Args:
            labels: what a run is to be called -> its label.
        """
        return {name: self.records[label] for name, label in labels.items()}

    def first(self, labels: Mapping[str, str]) -> dict[str, Records]:
        """The first seed of some runs, for figures of single runs; as `groups`."""
        return {name: seeds[0] for name, seeds in self.groups(labels).items()}

    def layer(self, label: str, kind: str, share: float) -> str:
        """The name of the layer at a share of a network's depth; see `layer_at`."""
        return layer_at(by_layer(self.records[label][0], kind), share)


def layer_at(names: Iterable[str], share: float) -> str:
    """The layer at a share of the depth: 0 is the first, 1 the last.

    It makes layers comparable that networks of different depths have.
    """
    names = list(names)
    return names[round(share * (len(names) - 1))]
