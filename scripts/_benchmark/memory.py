"""Peak memory of training steps of VGG-A, each normalisation in its own process.

This is memory of the host; that of an accelerator is not included.
"""

import concurrent.futures
import multiprocessing
import resource
import sys

from _benchmark import network

STEPS = 5  # the peak is reached after two or three
# What is allocated at once depends on which operations run side by side: peaks of one
# norm differed by 60 MiB.
PROCESSES = 3


def measure(dtypes, *, batch_size, width, seed, progress, norms=tuple(network.NORMS)):
    """Returns a row for each dtype.

    It has for each norm the peak of resident memory before the first step, `start_mib`,
    and after the steps, `peak_mib`: of the process with the median of `PROCESSES`.
    """
    options = {"batch_size": batch_size, "width": width, "seed": seed}
    rows = []
    for dtype in dtypes:
        peaks = {}
        for norm in norms:
            progress(f"memory: {dtype}, {norm}")
            found = [
                in_new_process(peak_of_steps, norm, dtype, **options)
                for _ in range(PROCESSES)
            ]
            peaks[norm] = sorted(found, key=_growth)[PROCESSES // 2]
        rows.append({"dtype": dtype, "norms": peaks})
    return rows


def peak_of_steps(norm, dtype, **options):
    """Makes `STEPS` steps; returns the peaks of this process before and after."""
    step = network.training_step(norm, dtype, **options)
    start = peak_mib()
    for _ in range(STEPS):
        step()
    return {"start_mib": start, "peak_mib": peak_mib()}


def _growth(peaks):
    return peaks["peak_mib"] - peaks["start_mib"]


def in_new_process(function, *args, **options):
    """Returns the result of `function(*args, **options)` in a new process."""
    # "spawn": a forked process would start with the parent's memory.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        return executor.submit(function, *args, **options).result()


def peak_mib():
    """Returns the peak of this process's resident memory so far."""
    if sys.platform == "linux":
        # Not getrusage: a child process inherits its peak on Linux.
        with open("/proc/self/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
