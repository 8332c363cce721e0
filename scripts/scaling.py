"""Measures training steps on several replicas beside those on one device.

Usage: python scripts/scaling.py [flags]

Several logical CPUs (--strategy=mirrored) and several processes on this machine
(--strategy=multi_worker) make the steps of scripts/train.py, without normalisation,
with BatchNorm, and with BatchNorm and BatchRenorm that share their statistics. They
take turns with one device on the same cores, so the work is conserved: what a step
takes more than that of one device on the same batch is what distribution costs.

  strong  a batch of 128, however many replicas
  weak    32 examples for each replica

The messages of a step are counted in its graph, beside what docs/distributed.md says;
on the wire are the bytes that the machine's own network carried meanwhile, of any
program, for all processes and both directions.

Prints Markdown tables, and writes all numbers as JSON with --out.

Example: python scripts/scaling.py --out=scaling.json
         python scripts/scaling.py --from=scaling.json
"""

import contextlib
import statistics

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
from _benchmark import timing
from _scaling import cells
from _scaling import runners
from _scaling import tables
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

_NETWORKS = list_flags.define_names(
    "networks", ["mlp"], tuple(cells.NETWORKS), "Networks to train."
)
_REPLICAS = list_flags.define_names(
    "replicas", ["2", "4"], ("2", "3", "4", "8"), "Numbers of replicas, beside one."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 15, "Number of times that each call is timed.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order.", lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from", None, "JSON file of an earlier run: prints its tables, measures nothing."
)
_WIRE_READINGS = 3


def main(argv):
    """Measures, prints and writes; or prints what was measured before."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, tables.render))
        return
    with _results.written_to(_OUT.value) as results:
        results |= _results.about(_NETWORKS, _REPLICAS, _ROUNDS, _SEED)
        results["rows"] = _measured([1, *sorted(map(int, _REPLICAS.value))])
        print(tables.render(results), flush=True)


def _measured(numbers):
    """A row for each place and cell."""
    with contextlib.ExitStack() as stack:
        cases = {}
        for place in cells.places(numbers):
            _results.progress(f"building {place}")
            found = cells.cells(place, _NETWORKS.value, numbers)
            runner = runners.Runner(place, found)
            stack.callback(runner.end)
            runner.wait()
            cases |= {(place, cell): runner for cell in found}
        seconds = _seconds(cases)
        return [_row(case, runner, seconds) for case, runner in cases.items()]


def _seconds(cases):
    """The seconds of a step, of each case in each round."""
    _results.progress(f"{len(cases)} cases, {_ROUNDS.value} rounds")
    calls = {
        case: lambda case=case, runner=runner: runner.run(case[1], _steps(case[1]))
        for case, runner in cases.items()
    }
    seconds = timing.interleaved(calls, rounds=_ROUNDS.value, seed=_SEED.value)
    return {
        case: [value / _steps(case[1]) for value in values]
        for case, values in seconds.items()
    }


def _row(case, runner, seconds):
    place, cell = case
    alone = seconds[cells.ONE, cell]
    pairs = zip(seconds[case], alone, strict=True)
    counted = runner.messages[cell]["counted"]
    sizes = [size for _, size in counted]
    several = place.kind == cells.PROCESSES and place.number > 1
    return {
        **place._asdict(),
        **cell._asdict(),
        "ms": 1e3 * statistics.median(seconds[case]),
        "more_ms": 1e3 * statistics.median(one - other for one, other in pairs),
        "ratio": timing.ratio(seconds[case], alone),
        "counted": [len(sizes), None if None in sizes else sum(sizes)],
        "foretold": runner.messages[cell]["foretold"],
        "loopback_bytes": _on_the_wire(runner, cell) if several else None,
    }


def _on_the_wire(runner, cell):
    """The least of some readings: other programs use the network too."""
    return min(runner.loopback_bytes(cell, _steps(cell)) for _ in range(_WIRE_READINGS))


def _steps(cell):
    _, steps = cells.NETWORKS[cell.network]
    return steps


if __name__ == "__main__":
    cli.run(main)
