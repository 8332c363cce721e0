"""The measurements of an experiment's runs."""

import dataclasses
from collections.abc import Collection
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
        records: label -> the records of its runs, one list for each seed.
        about: how they came about: `machine`, `versions` and `date`.
        seeds: label -> the seeds of its runs, in the order of the records. Labels that
            are not in it have 0, 1, ...
    """

    scale: str
    records: Mapping[str, Sequence[Records]]
    about: Mapping = dataclasses.field(default_factory=dict)
    seeds: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)

    def seeds_of(self, label: str) -> Sequence[int]:
        """Returns the seeds of the runs with a label."""
        return self.seeds.get(label, range(len(self.records[label])))

    def only(self, seeds: Collection[int]) -> "Results":
        """Returns the results of the runs with some seeds."""
        kept = {
            label: {
                seed: run
                for seed, run in zip(self.seeds_of(label), runs, strict=True)
                if seed in seeds
            }
            for label, runs in self.records.items()
        }
        return dataclasses.replace(
            self,
            records={label: [*runs.values()] for label, runs in kept.items()},
            seeds={label: [*runs] for label, runs in kept.items()},
        )

    def groups(self, labels: Mapping[str, str]) -> dict[str, Sequence[Records]]:
        """Returns the records of all seeds of some runs.

        Args:
            labels: name to give to a run -> its label.
        """
        return {name: self.records[label] for name, label in labels.items()}

    def first(self, labels: Mapping[str, str]) -> dict[str, Records]:
        """Returns the first seed of each run, for figures of single runs."""
        return {name: seeds[0] for name, seeds in self.groups(labels).items()}

    def layer(self, label: str, kind: str, share: float) -> str:
        """Returns the name of the layer at a relative depth; see `layer_at`."""
        return layer_at(by_layer(self.records[label][0], kind), share)


def layer_at(names: Iterable[str], share: float) -> str:
    """Returns the layer at a relative depth: 0 is the first layer, 1 the last.

    A relative depth identifies comparable layers of networks of different depths.
    """
    names = list(names)
    return names[round(share * (len(names) - 1))]
