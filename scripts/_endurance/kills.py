"""A run that is killed and resumed many times, and an uninterrupted one."""

import collections
import os
import random
import re
import signal
import statistics
import time

from _endurance import comparison
from _endurance import processes

_COMMON = (
    "--model=vgg",
    "--width=0.1",
    "--dataset=shapes",
    "--batch_size=16",
    "--steps_per_execution=4",
    "--log_every=5",
    "--eval_every=12",
    "--checkpoint_every=7",
    "--deterministic",
)
CONFIGURATIONS = {
    "renorm": ("--norm=batch_renorm", "--learning_rate=0.05"),
    "noise": (
        "--norm=noisy_batch_norm",
        "--hidden_units=32",
        "--dropout=0.5",
        "--optimizer=adam",
        "--learning_rate=0.001",
        "--learning_rate_schedule=cosine",
        "--ics_every=45",
        "--activations_every=20",
    ),
}

# The phases that kills aim at, in turn. A checkpoint is short compared to the steps,
# and most can go wrong there.
_PHASES = (
    "checkpoint",
    "evaluation",
    "steps",
    "checkpoint",
    "measurement",
    "checkpoint",
    "start",
    "evaluation",
    "checkpoint",
    "evaluation",
)
_LAST_PHASES = ("model", "figures")
_INTERRUPTED_PHASES = ("steps", "evaluation", "checkpoint")
_MOST_ENTRIES = {"steps": 4, "checkpoint": 2}
_TRIES = 3  # to hit the phase that a kill is aimed at
_STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def measure(
    configurations, folder, *, kills, interruptions, steps, seed, progress=print
):
    """Runs the check.

    Args:
        configurations: names from `CONFIGURATIONS`.
        folder: str, the folder for the runs.
        kills: int, the minimum number of SIGKILLs.
        interruptions: int, the number of SIGTERMs, and of SIGINTs.
        steps: int, the steps of a run.
        seed: int, the seed of the runs and of the moments of the signals.
        progress: function that reports progress, given as text.

    Returns:
        One dict for each configuration: `configuration`, `flags`;
        `uninterrupted_seconds`, `ended_seconds`; `phase_seconds`, the typical duration
        of each phase; `endings`, a dict for each signal: the signal, the phase aimed
        at and the phase hit, the steps at which the process resumed and ended (-1 if
        unknown to it), the exit status, the step of the newest checkpoint (for SIGTERM
        and SIGINT), and the number of steps to repeat; `compared`, the numbers of items
        compared; and `differences`, texts, empty if the check passes.
    """
    rows = []
    for name in configurations:
        flags = [*_COMMON, *CONFIGURATIONS[name], f"--train_steps={steps}"]
        flags.append(f"--seed={seed}")
        experiment = _Experiment(name, flags, folder, random.Random(seed), progress)
        rows.append(experiment.row(kills, interruptions))
    return rows


def aims(kills, interruptions, phases, rng):
    """Plans the signals for a run.

    Args:
        kills: int, the number of SIGKILLs.
        interruptions: int, the number of SIGTERMs, and of SIGINTs.
        phases: names of the phases of the run.
        rng: `random.Random`, for the order.

    Returns:
        A list of pairs of a `signal.Signals` and a phase. Phases that only the last
        process of a run enters come last.
    """
    cycle = [phase for phase in _PHASES if phase in phases]
    last = _LAST_PHASES[: max(0, kills - len(cycle) // 2)]
    found = [(signal.SIGKILL, cycle[i % len(cycle)]) for i in range(kills - len(last))]
    for i in range(interruptions):
        phase = _INTERRUPTED_PHASES[i % len(_INTERRUPTED_PHASES)]
        found += [(number, phase) for number in _STATUS]
    rng.shuffle(found)
    return found + [(signal.SIGKILL, phase) for phase in last]


def wrong_interruptions(endings):
    """Returns the faults of SIGTERMs and SIGINTs as texts: each must save its step."""
    wrong = []
    for ending in endings:
        status = _STATUS.get(signal.Signals[ending["signal"]])
        if status is None:
            continue
        if ending["status"] != status:
            wrong.append(f"{ending['signal']}: exit status {ending['status']}")
        if ending["saved"] != ending["step"] or ending["repeated"]:
            wrong.append(
                f"{ending['signal']}: stopped at step {ending['step']}, saved at "
                f"{ending['saved']}, {ending['repeated']} steps repeated"
            )
    return wrong


def account(endings, first):
    """Records how many steps must be repeated after the last ending of a run.

    Args:
        endings: list of dicts, as returned by `measure`.
        first: int, the step at which the next process resumed.
    """
    for ending in reversed(endings):
        if ending["step"] >= 0:  # the process had reached its first step
            ending["repeated"] = ending["step"] - first
            return


class _Experiment:
    """The two runs of a configuration."""

    def __init__(self, name, flags, folder, rng, progress):
        self._name = name
        self._flags = flags
        self._folder = folder
        self._rng = rng
        self._progress = progress
        self._typical = {}

    def row(self, kills, interruptions):
        """Executes both runs and compares them."""
        self._progress(f"kills: {self._name}, uninterrupted")
        begin = time.monotonic()
        whole = self._process("whole", 0)
        durations = whole.durations()
        seconds = time.monotonic() - begin
        self._typical = {k: statistics.median(v) for k, v in durations.items() if v}
        _check_ended(whole)
        begin = time.monotonic()
        endings, last = self._ended_again_and_again(kills, interruptions)
        differences, counts = comparison.compare(self._run("whole"), self._run("ended"))
        if _evaluation(whole) != _evaluation(last):
            differences.append(
                f"printed: {_evaluation(whole)!r}, {_evaluation(last)!r}"
            )
        came = collections.Counter(ending["signal"] for ending in endings)
        wanted = {"SIGKILL": kills} | {n.name: interruptions for n in _STATUS}
        differences += [
            f"{name} came {came[name]} times instead of {number}"
            for name, number in wanted.items()
            if came[name] < number
        ]
        return {
            "configuration": self._name,
            "flags": self._flags,
            "uninterrupted_seconds": seconds,
            "ended_seconds": time.monotonic() - begin,
            "phase_seconds": self._typical,
            "endings": endings,
            "compared": counts,
            "differences": differences + wrong_interruptions(endings),
        }

    def _ended_again_and_again(self, kills, interruptions):
        """Starts processes of a run until one finishes by itself.

        A kill that misses its phase is repeated, so there may be more than `kills`.

        Returns:
            A dict for each ending, and the last process.
        """
        waiting = aims(kills, interruptions, self._typical, self._rng)
        endings, tries = [], 0
        while True:
            process = self._process("ended", len(endings))
            found = process.hit(self._aim(*waiting[0])) if waiting else None
            status = process.wait()
            first = process.beacon.first
            if first >= 0:
                account(endings, first)
            if found is None or status == 0:  # it finished before the signal
                _check_ended(process)
                return endings, process
            endings.append(self._ending(waiting[0], found, status, process))
            tries += 1
            if waiting[0][1] == found[0] or tries == _TRIES:
                waiting.pop(0)
                tries = 0

    def _ending(self, aimed, found, status, process):
        number, phase = aimed
        saved = None
        if number != signal.SIGKILL:
            saved = comparison.newest_checkpoint(self._run("ended"))
        ending = {
            "signal": number.name,
            "aimed_at": phase,
            "phase": found[0],
            "began_at": process.beacon.first,
            "step": process.beacon.step,
            "status": status,
            "saved": saved,
            "repeated": 0,
        }
        self._progress(
            f"kills: {self._name}, {ending['signal']} in {ending['phase']} at step "
            f"{ending['step']}"
        )
        return ending

    def _aim(self, number, phase):
        return processes.Aim(
            signal=number,
            phase=phase,
            entry=self._rng.randint(1, _MOST_ENTRIES.get(phase, 1)),
            delay=self._rng.uniform(0.0, self._typical[phase]),
        )

    def _process(self, run, number):
        flags = [*self._flags, f"--run_dir={self._run(run)}"]
        path = os.path.join(self._folder, f"{self._name}_{run}_process{number}")
        return processes.Process(flags, path)

    def _run(self, run):
        # Figures show the name of their run.
        return os.path.join(self._folder, f"{self._name}_{run}", self._name)


def _check_ended(process):
    status = process.wait()
    if status:
        raise RuntimeError(
            f"A run failed with status {status}: {process.printed('err')}"
        )


def _evaluation(process):
    """Returns the line on the test split that a run has printed."""
    return re.findall(r"^Test split after .*$", process.printed(), re.MULTILINE)
