"""Times of calls that are compared with each other.

Other work can slow the machine down for seconds at a time. All calls of a comparison
therefore take turns, once in each round, and each ratio comes with its spread over the
rounds.
"""

import functools
import random
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

WARMUPS = 3


def interleaved(
    calls: Mapping[str, Callable],
    *,
    rounds: int,
    warmups: int = WARMUPS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Returns the seconds that each call took in each round.

    Warm-ups, which trace and compile, are not timed.
    """
    for call in calls.values():
        for _ in range(warmups):
            call()

    def timed(call):
        begin = clock()
        results = call()
        seconds = clock() - begin
        del results  # now, so that freeing the memory is not timed
        return seconds

    timers = {name: functools.partial(timed, call) for name, call in calls.items()}
    return taking_turns(timers, rounds=rounds, seed=seed)


def taking_turns(
    timers: Mapping[str, Callable[[], float]], *, rounds: int, seed: int = 0
) -> dict[str, list[float]]:
    """Calls each timer once a round; returns the seconds that it told.

    The order changes from round to round, so that no call always finds the caches as
    the same other call left them.
    """
    seconds = {name: [] for name in timers}
    order, shuffle = list(timers), random.Random(seed).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            seconds[name].append(timers[name]())
    return seconds


def blocking(function: Callable, *args) -> Callable:
    """Returns a call of `function(*args)` that waits for the results.

    On a GPU a function returns before its results are computed.
    """

    def call():
        results = function(*args)
        tf.test.experimental.sync_devices()
        return results

    return call


def net(seconds: Mapping[str, Sequence[float]], harness: str) -> dict[str, list[float]]:
    """Returns the seconds of the other calls minus the median of `harness`."""
    overhead = np.median(seconds[harness])
    return {
        name: [float(s - overhead) for s in values]
        for name, values in seconds.items()
        if name != harness
    }


def median_ms(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns the median of each, in milliseconds."""
    return {name: 1e3 * float(np.median(values)) for name, values in seconds.items()}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict:
    """Compares two calls by their seconds in each round.

    Returns:
        `median` and `quartiles`, the first and the third, of the rounds' ratios. They
        are None if a time is not positive, because it is too short beside the harness.
    """
    if min(*numerators, *denominators) <= 0:
        return {"median": None, "quartiles": None}
    ratios = np.divide(numerators, denominators)
    first, median, third = (float(q) for q in np.quantile(ratios, [0.25, 0.5, 0.75]))
    return {"median": median, "quartiles": [first, third]}
