"""What each library has, as the workers answer it."""

import os
import sys

from _compare import peers as peers_lib

import tfbn

_ROOT = os.path.dirname(os.path.dirname(tfbn.__file__))


def measure(peers, *, progress):
    """Dict from library to its answers, see `probing`.

    tfbn, Keras and tf_keras are asked in a process of their own, whose CPU is split in
    two for the replicas.
    """
    return _asked("features", peers, progress)


def diagnostics(peers, *, progress):
    """The same of tfbn's diagnostics, cockpit, PyHessian and loss-landscapes."""
    torch = {name: peer for name, peer in peers.items() if name == "torch"}
    return _asked("diagnostics", torch, progress)


def _asked(what, peers, progress):
    progress(f"{what}: here")
    with peers_lib.Peer("python", sys.executable, "tf_features", _ROOT) as here:
        found = here.ask(what)
    for name, peer in peers.items():
        progress(f"{what}: {name}")
        found |= peer.ask(what)
    return found
