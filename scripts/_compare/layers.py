"""Time and error of training calls of the layers of all libraries."""

import contextlib
import math
import os
import tempfile
from typing import NamedTuple

import numpy as np
from _benchmark import candidates
from _benchmark import exactness
from _benchmark import timing
from _compare import formulas
from _compare import local
from _compare import serving

from tfbn.commands.list_flags import shape_text

BASE = "tfbn:function"
OFFSETS = (0.0, 1e4)
SEED = 0

# Where each library runs: in this interpreter, or in that of a peer.
PEERS = {"torch": "torch", "torchrl": "torch", "flax": "jax", "sbx": "jax"}
_TF_MODES = ("eager", "function", "jit")


class Kind(NamedTuple):
    """A kind of layer.

    Attributes:
        shape: of the input, channels last.
        repeats: calls in a turn of a round, so that it takes some milliseconds.
        formulas: dict from library to its reference.
        candidates: libraries and modes.
    """

    shape: tuple
    repeats: int
    formulas: dict
    candidates: tuple


def _names(library, *modes):
    return tuple(f"{library}:{mode}" for mode in modes)


_HERE = tuple(
    name for lib in ("tfbn", "keras", "tf_keras") for name in _names(lib, *_TF_MODES)
)
KINDS = {
    "bn": Kind(
        shape=(128, 32, 32, 64),
        repeats=1,
        formulas=dict.fromkeys(
            ("tfbn", "keras", "tf_keras", "torch", "flax"), formulas.batch_norm
        ),
        candidates=(
            *_HERE,
            *_names("torch", "eager", "contiguous", "compile"),
            "flax:jit",
        ),
    ),
    "renorm": Kind(
        shape=(1024, 256),
        repeats=5,
        formulas={
            **dict.fromkeys(("tfbn", "keras", "tf_keras"), formulas.tf_renorm),
            "torchrl": formulas.torchrl_renorm,
            "sbx": formulas.sbx_renorm,
        },
        candidates=(*_HERE, *_names("torchrl", "eager", "compile"), "sbx:jit"),
    ),
}


def tf_keras_version():
    """The version of tf_keras, which runs here."""
    return local.tf_keras.__version__


def case(kind, shape, offset=0.0, *, drift=None, stddev=None, **more):
    """A case of `formulas`; `moving_mean` is the offset plus `drift`."""
    x, upstream = exactness.draw(shape, offset, SEED)
    drift = exactness.MOVING_DRIFT if drift is None else drift
    found = {
        "kind": kind,
        "x": x.astype(np.float32),
        "upstream": upstream.astype(np.float32),
        "epsilon": candidates.EPSILON,
        **more,
    }
    if kind == "renorm":
        found |= {"rmax": candidates.RMAX, "dmax": candidates.DMAX}
        found |= {"moving_mean": offset + drift}
        found |= {"moving_stddev": stddev or exactness.MOVING_STDDEV}
    return found


@contextlib.contextmanager
def sent(case):
    """Yields a case as peers take it: its arrays lie in a file, for the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.npz")
        arrays = {k: v for k, v in case.items() if isinstance(v, np.ndarray)}
        np.savez(path, allow_pickle=False, **arrays)
        rest = {k: v for k, v in case.items() if k not in arrays}
        yield rest | {"data": path}


def present(kind, peers):
    """The candidates of a kind that the interpreters at hand can run."""
    return [
        name
        for name in KINDS[kind].candidates
        if PEERS.get(name.partition(":")[0]) in (None, *peers)
    ]


def times(peers, *, rounds, progress):
    """Rows with the milliseconds of a training call, and its ratio to `BASE`.

    The time is that of output, gradients of input, gamma and beta, and the update of
    the averages. In each round each candidate has one turn: a call that is not timed,
    then the timed ones. `ms` is the median of the rounds and `least_ms` the least, that
    of the round that other work disturbed least; `ratio` has the median and quartiles
    of the rounds' ratios, and `least_ratio` is that of the least times.

    Args:
        peers: dict from a value of `PEERS` to `peers.Peer`.
        rounds: int, turns of each candidate.
        progress: function that is told what comes next.
    """
    return [
        row for kind in KINDS for row in _times_of_kind(kind, peers, rounds, progress)
    ]


def _times_of_kind(kind, peers, rounds, progress):
    shape, repeats = KINDS[kind].shape, KINDS[kind].repeats
    data = case(kind, shape)
    timers, errors = {}, {}
    with sent(data) as remote:
        for name in present(kind, peers):
            progress(f"times: {kind} {shape_text(shape)}: {name} is prepared")
            try:
                timers[name] = _timer(name, data, remote, peers, repeats)
            except RuntimeError as error:
                errors[name] = str(error)
        progress(f"times: {kind} {shape_text(shape)}: {rounds} rounds")
        seconds = timing.taking_turns(timers, rounds=rounds, seed=SEED)
    for name in timers:
        if peer := PEERS.get(name.partition(":")[0]):
            peers[peer].ask("forget", key=name)
    about = {"kind": kind, "shape": list(shape)}
    medians = timing.median_ms(seconds)
    rows = [
        {
            **about,
            "candidate": name,
            "ms": medians[name],
            "least_ms": 1e3 * min(seconds[name]),
            "ratio": timing.ratio(seconds[name], seconds[BASE]),
            "least_ratio": min(seconds[name]) / min(seconds[BASE]),
            "rounds_ms": [round(1e3 * second, 4) for second in seconds[name]],
        }
        for name in seconds
    ]
    return rows + [{**about, "candidate": n, "error": e} for n, e in errors.items()]


def _timer(name, data, remote, peers, repeats):
    peer = peers.get(PEERS.get(name.partition(":")[0]))
    if peer is not None:
        peer.ask("prepare", key=name, name=name, case=remote)
        return lambda: peer.ask("seconds", key=name, repeats=repeats)
    call = local.make(name, data)
    for _ in range(serving.WARMUPS):
        call()
    return lambda: serving.seconds_of(call, repeats)


def errors(peers, *, progress):
    """Rows with the errors of output and input gradient against float64.

    Each library is compared with its own formula. Renorm also has a case in which r and
    d are at their bounds. None stands for NaN.
    """
    cases = [("bn", offset, {}) for offset in OFFSETS]
    cases += [("renorm", offset, {}) for offset in OFFSETS]
    cases += [("renorm", 0.0, {"drift": 80.0, "stddev": 8.0})]
    rows = []
    for kind, offset, state in cases:
        progress(f"errors: {kind}, offset {offset:g} {state or ''}")
        data = case(kind, KINDS[kind].shape, offset, **state)
        rows += [
            {"kind": kind, "offset": offset, "at_bounds": bool(state), **row}
            for row in _errors_of_case(data, peers)
        ]
    return rows


def _errors_of_case(data, peers):
    kind = KINDS[data["kind"]]
    expected = {formula: formula(data) for formula in set(kind.formulas.values())}
    for name in present(data["kind"], peers):
        formula = kind.formulas[name.partition(":")[0]]
        try:
            actual = results(name, data, peers)
        except RuntimeError as error:
            yield {"candidate": name, "error": str(error)}
            continue
        yield {
            "candidate": name,
            **{
                quantity: _finite(exactness.relative_error(a, e))
                for quantity, a, e in zip(
                    ("output", "gradient"), actual, expected[formula], strict=True
                )
            },
        }


def _finite(value):
    """None for NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


def results(name, data, peers):
    """Output and input gradient of a new layer's first training call, as arrays."""
    peer = peers.get(PEERS.get(name.partition(":")[0]))
    if peer is None:
        return [result.numpy() for result in local.make(name, data)()[:2]]
    with sent(data) as remote:
        out = f"{remote['data']}.out.npz"
        peer.ask("results", name=name, case=remote, out=out)
        with np.load(out) as found:
            return found["output"], found["gradient"]
