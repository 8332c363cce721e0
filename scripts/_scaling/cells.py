"""What scripts/scaling.py measures: networks, norms and batches, in several places."""

from typing import NamedTuple

from tfbn.experiment import TrainConfig

NONE, CPUS, PROCESSES = "no strategy", "logical CPUs", "processes"
STRONG_BATCH, WEAK_BATCH = 128, 32

# Options of a run by the name of the network, and the steps of a call.
NETWORKS: dict[str, tuple[dict, int]] = {
    "mlp": ({"model": "mlp"}, 10),
    "vgg": ({"model": "vgg", "width": 0.125}, 5),
}
NORMS: dict[str, dict] = {
    "none": {"norm": "none"},
    "BatchNorm": {"norm": "batch_norm"},
    "BatchNorm, synchronized": {"norm": "batch_norm", "synchronized": True},
    "BatchRenorm, synchronized": {"norm": "batch_renorm", "synchronized": True},
}


class Place(NamedTuple):
    """Where a step is made.

    Attributes:
        kind: `NONE`, `CPUS` or `PROCESSES`.
        number: int, of the replicas.
    """

    kind: str
    number: int

    def __str__(self):
        if self.kind == NONE:
            return NONE
        one = {CPUS: "logical CPU", PROCESSES: "process"}[self.kind]
        return f"1 {one}" if self.number == 1 else f"{self.number} {self.kind}"


# With the others it is compared. The graph of its steps is that of several replicas,
# with sizes known; without a strategy that of a batch is not, as docs/distributed.md
# explains.
ONE = Place(CPUS, 1)


class Cell(NamedTuple):
    """What is trained: names of `NETWORKS` and `NORMS`, and the global batch."""

    network: str
    norm: str
    batch_size: int


def places(numbers):
    """One device in both ways, and so many logical CPUs and processes each."""
    several = [number for number in numbers if number > 1]
    return [
        Place(NONE, 1),
        ONE,
        *(Place(kind, n) for kind in (CPUS, PROCESSES) for n in several),
    ]


def batch_sizes(place, numbers):
    """The global batches of a place: of strong scaling, and of weak scaling.

    One device has those of all numbers of replicas.
    """
    weak = numbers if place.number == 1 else [place.number]
    return sorted({STRONG_BATCH, *(WEAK_BATCH * number for number in weak)})


def cells(place, networks, numbers):
    """The `Cell`s of a place."""
    sizes = batch_sizes(place, numbers)
    return [Cell(*c) for c in _products(networks, NORMS, sizes)]


def _products(networks, norms, sizes):
    return [(a, b, c) for a in networks for b in norms for c in sizes]


def config(place, cell):
    """The `TrainConfig` of a cell: a run on the synthetic images."""
    options = NETWORKS[cell.network][0] | NORMS[cell.norm] | _strategy(place)
    return TrainConfig(
        dataset="shapes", batch_size=cell.batch_size, learning_rate=0.01, **options
    )


def _strategy(place):
    if place.kind == CPUS:
        return {"strategy": "mirrored", "logical_cpus": place.number}
    if place.kind == PROCESSES:
        # Nothing is written to it. The processes share a few cores.
        options = {"run_dir": "unused", "lost_after_seconds": 120.0}
        return {"strategy": "multi_worker", **options}
    return {}
