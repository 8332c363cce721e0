"""Measures what distribution over several devices costs.

Usage: python scripts/scaling.py [flags]

Times training steps on one device, on 2 and 4 logical CPUs and on 2 and 4 processes of
this machine: with the same global batch (strong scaling) and with the same batch on
each replica (weak scaling), and counts what they send each other. All of them take
turns, so ratios are less sensitive than times to other work on the machine. Prints
Markdown, and writes all numbers as JSON with --out.

Example: python scripts/scaling.py --out=scaling.json
         python scripts/scaling.py --from=scaling.json > scaling.md
"""

import contextlib

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
import numpy as np
from _benchmark import timing
from _scaling import child
from _scaling import groups
from _scaling import tables
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

_NORMS = list_flags.define_names(
    "norms", ["none", "BatchNorm"], tuple(child.NORMS), "Normalisation layers."
)
_REPLICAS = list_flags.define_names(
    "replicas", ["2", "4"], ("2", "3", "4", "8"), "Numbers of replicas."
)
_GLOBAL_BATCH = flags.DEFINE_integer(
    "global_batch", 128, "Examples in a batch of strong scaling.", lower_bound=8
)
_LOCAL_BATCH = flags.DEFINE_integer(
    "local_batch", 64, "Examples of a replica of weak scaling.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 40, "Number of times that each call is timed.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 10, "Training steps of a call.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order.", lower_bound=0)
_REMARK = flags.DEFINE_string(
    "remark", "", "Remark for the record, such as the other load on the machine."
)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from", None, "JSON file of an earlier run: prints its tables, measures nothing."
)
_SETTINGS = (
    _NORMS,
    _REPLICAS,
    _GLOBAL_BATCH,
    _LOCAL_BATCH,
    _ROUNDS,
    _STEPS,
    _SEED,
    _REMARK,
)
_ALONE = "one device"


def main(argv):
    """Measures, prints and writes; or prints what was measured before."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, tables.render))
        return
    with _results.written_to(_OUT.value) as results:
        results |= _results.about(*_SETTINGS, layers=child.LAYERS, units=child.UNITS)
        results["rows"] = _measured()
        print(tables.render(results), flush=True)


def _measured():
    numbers = [int(number) for number in _REPLICAS.value]
    with contextlib.ExitStack() as stack:
        places = {(_ALONE, 1): stack.enter_context(groups.Group("none"))}
        for n in numbers:
            logical = groups.Group("mirrored", f"logical_cpus={n}")
            places["logical CPUs", n] = stack.enter_context(logical)
            several = groups.Group("multi_worker", number=n)
            places["processes", n] = stack.enter_context(several)
        calls = {
            name: places[name[:2]].call(
                name, norm=name[2], batch_size=name[3], steps=_STEPS.value
            )
            for name in _names(places, numbers)
        }
        seconds = timing.interleaved(calls, rounds=_ROUNDS.value, seed=_SEED.value)
        return _rows(seconds, places)


def _names(places, numbers):
    """What is timed: `(kind, number of replicas, norm, batch size)`."""
    names = {}
    for norm in _NORMS.value:
        for kind, n in places:
            sizes = {_GLOBAL_BATCH.value, _LOCAL_BATCH.value * n}
            if kind == _ALONE:  # what the others are compared with
                sizes |= {_LOCAL_BATCH.value * m for m in numbers}
                sizes |= {_local(_GLOBAL_BATCH.value, m) for m in numbers}
            names.update(dict.fromkeys((kind, n, norm, size) for size in sorted(sizes)))
    return list(names)


def _rows(seconds, places):
    ms = {
        name: value / _STEPS.value for name, value in timing.median_ms(seconds).items()
    }
    cpu_ms = {}
    for name in seconds:
        timed = places[name[:2]].cpu_seconds[name][-_ROUNDS.value :]
        cpu_ms[name] = 1e3 * float(np.median(timed)) / _STEPS.value
    rows = []
    for kind, n, norm, size in seconds:
        alone = (_ALONE, 1, norm)
        rows.append(
            {
                "kind": kind,
                "replicas": n,
                "norm": norm,
                "batch_size": size,
                "ms": ms[kind, n, norm, size],
                "cpu_ms": cpu_ms[kind, n, norm, size],
                "one_device_ms": ms[*alone, size],
                "one_device_cpu_ms": cpu_ms[*alone, size],
                "local_batch_ms": ms[*alone, _local(size, n)],
                "sent": places[kind, n].sent[kind, n, norm, size],
            }
        )
    return rows


def _local(size, number):
    return -(-size // number)


if __name__ == "__main__":
    cli.run(main)
