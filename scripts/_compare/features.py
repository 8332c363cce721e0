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
    progress("features: of tfbn, Keras and tf_keras")
    with peers_lib.Peer("python", sys.executable, "tf_features", _ROOT) as here:
        found = here.ask("features")
    for name, peer in peers.items():
        progress(f"features: of {name}")
        found |= peer.ask("features")
    return found
