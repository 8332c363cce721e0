"""Peak memory of training steps of VGG-A, each normalisation in its own process.

It is memory of the host: what lies on an accelerator is not seen.
"""

import concurrent.futures
import multiprocessing
import resource
import sys

from _benchmark import network

STEPS = 5  # the peak is there after two or three


def measure(dtypes, *, batch_size, width, seed, progress, norms=tuple(network.NORMS)):
    """A list of rows, one a dtype: for each norm `start_mib`, with the model built and
    before the first step, and `peak_mib`, both of resident memory."""
    options = {"batch_size": batch_size, "width": width, "seed": seed}
    rows = []
    for dtype in dtypes:
        peaks = {}
        for norm in norms:
            progress(f"memory: {dtype}, {norm}")
            peaks[norm] = in_new_process(peak_of_steps, norm, dtype, **options)
        rows.append({"dtype": dtype, "norms": peaks})
    return rows


def peak_of_steps(norm, dtype, **options):
    """Makes `STEPS` steps; returns the peaks of this process before and after."""
    step = network.training_step(norm, dtype, **options)
    start = peak_mib()
    for _ in range(STEPS):
        step()
    return {"start_mib": start, "peak_mib": peak_mib()}


def in_new_process(function, *args, **options):
    """What `function(*args, **options)` returns in a process of its own."""
    # "spawn": a forked process would begin with the parent's memory.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
        return executor.submit(function, *args, **options).result()


def peak_mib():
    """The most that this process has had resident so far."""
    if sys.platform == "linux":
        # Not getrusage: Linux hands its peak on to a child process.
        with open("/proc/self/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
