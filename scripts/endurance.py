"""Long checks of training runs: killed and resumed, and over many steps.

Usage: python scripts/endurance.py [flags]

Prints the results in Markdown; with --out, writes them as JSON too. The checks:

  kills   a run that is killed at random moments, interrupted by SIGTERM and SIGINT and
          started again each time ends bit for bit like an uninterrupted one
  memory  a run of many steps with all diagnostics neither leaks memory nor retraces

They take about half an hour on two cores. The exit status is 1 if one of them fails.
Linux only. Do not edit the source meanwhile: every process of a run imports it.

Example: python scripts/endurance.py --out=endurance.json
         python scripts/endurance.py --from=endurance.json > endurance.md
"""

import contextlib
import os
import tempfile
import time

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
from _endurance import kills
from _endurance import memory
from _endurance import tables
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

_CHECKS = list_flags.define_names(
    "checks", list(tables.CHECKS), tuple(tables.CHECKS), "What to check."
)
_CONFIGURATIONS = list_flags.define_names(
    "configurations",
    list(kills.CONFIGURATIONS),
    tuple(kills.CONFIGURATIONS),
    "Runs to kill.",
)
_KILLS = flags.DEFINE_integer(
    "kills", 20, "Minimum number of SIGKILLs per run.", lower_bound=0
)
_INTERRUPTIONS = flags.DEFINE_integer(
    "interruptions", 3, "Number of SIGTERMs, and of SIGINTs, per run.", lower_bound=0
)
_KILL_STEPS = flags.DEFINE_integer(
    "kill_steps",
    300,
    "Steps of these runs; ten per signal are enough.",
    lower_bound=1,
)
_MEMORY_STEPS = flags.DEFINE_integer(
    "memory_steps", 10_000, "Steps of the runs of the memory check.", lower_bound=3000
)
_MEASURE_EVERY = flags.DEFINE_integer(
    "measure_every", 40, "Steps between their measurements.", lower_bound=1
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the runs and of the moments of the signals.", lower_bound=0
)
_WORK_DIR = flags.DEFINE_string(
    "work_dir",
    None,
    "New folder in which to keep the runs of the kills check. Default: a temporary "
    "one.",
)
_REMARK = flags.DEFINE_string(
    "remark", "", "Remark for the record, such as the other load on the machine."
)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from",
    None,
    "JSON file of earlier results, to print instead of running the checks.",
)

_SETTINGS = (
    _CHECKS,
    _CONFIGURATIONS,
    _KILLS,
    _INTERRUPTIONS,
    _KILL_STEPS,
    _MEMORY_STEPS,
    _MEASURE_EVERY,
    _SEED,
)


def main(argv):
    """Runs the checks, or prints earlier results."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, tables.render))
        return 0
    with _results.written_to(_OUT.value) as results, _work_folder() as folder:
        results |= _results.about(*_SETTINGS)
        results |= {"remark": _REMARK.value, "checks": {}}
        print(tables.heading(results), flush=True)
        for check in _CHECKS.value:
            results["checks"][check] = _checked(check, folder)
            text = tables.check(check, results["checks"][check])
            print(f"\n{text}", flush=True)
    failures = tables.failures(results)
    for failure in failures:
        _results.progress(failure)
    return 1 if failures else 0


def _checked(check, folder):
    """Runs a check; returns its rows, the date and its duration."""
    date, begin = _results.now(), time.monotonic()
    rows = _MEASURES[check](folder)
    return {"date": date, "seconds": time.monotonic() - begin, "rows": rows}


@contextlib.contextmanager
def _work_folder():
    if not _WORK_DIR.value:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    if os.path.exists(_WORK_DIR.value):
        raise ValueError(
            "--work_dir must be a new folder. Received: "
            f"--work_dir={_WORK_DIR.value}, which exists. Choose another one."
        )
    os.makedirs(_WORK_DIR.value)
    yield _WORK_DIR.value


def _kills(folder):
    return kills.measure(
        _CONFIGURATIONS.value,
        folder,
        kills=_KILLS.value,
        interruptions=_INTERRUPTIONS.value,
        steps=_KILL_STEPS.value,
        seed=_SEED.value,
        progress=_results.progress,
    )


def _memory(unused_folder):
    return memory.measure(
        _MEMORY_STEPS.value,
        every=_MEASURE_EVERY.value,
        seed=_SEED.value,
        progress=_results.progress,
    )


_MEASURES = {"kills": _kills, "memory": _memory}


if __name__ == "__main__":
    cli.run(main)
