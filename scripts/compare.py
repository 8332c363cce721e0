"""Compares tfbn with other libraries for batch normalisation and diagnostics.

Usage: python scripts/compare.py --out=FILE.json [flags]
       python scripts/compare.py --from=FILE.json > FILE.md

Prints a page in Markdown, and writes all numbers as JSON with --out. Its sections:

  times        time of a training call of each library's layers
  errors       its error against float64, also on data with an offset
  findings     short programs that show what large errors come from
  features     what each library's layers have, by probes
  diagnostics  what tfbn, cockpit, PyHessian and loss-landscapes measure, likewise
  hessians     largest eigenvalue and trace of one Hessian by those that have them

Other frameworks run in interpreters of their own, which --torch_python and
--jax_python name; without one its rows are left out. docs/comparison.md says how to
make them. In each round every candidate has one turn, so that other work on the machine
hits all alike. Compare ratios rather than times.
"""

import contextlib
import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
import tensorflow as tf
from _compare import features
from _compare import findings
from _compare import hessians
from _compare import layers
from _compare import page
from _compare import peers as peers_lib
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

_SECTIONS = list_flags.define_names(
    "sections", list(page.SECTIONS), tuple(page.SECTIONS), "What to compare."
)
_TORCH_PYTHON = flags.DEFINE_string(
    "torch_python",
    None,
    "Interpreter with torch, torchrl, cockpit, PyHessian and loss-landscapes.",
)
_JAX_PYTHON = flags.DEFINE_string(
    "jax_python", None, "Interpreter with jax, flax and sbx."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 15, "Number of times that each call is timed.", lower_bound=1
)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from", None, "JSON file of an earlier run: prints its page, measures nothing."
)

_PEERS = {
    "torch": (_TORCH_PYTHON, "torch_worker"),
    "jax": (_JAX_PYTHON, "jax_worker"),
}


def main(argv):
    """Measures, prints and writes; or prints what was measured before."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, page.render), end="")
        return
    # TensorFlow warns of functions with the same code, which are intended here.
    tf.get_logger().setLevel("ERROR")
    with contextlib.ExitStack() as stack:
        peers = {name: stack.enter_context(peer) for name, peer in _started()}
        with _results.written_to(_OUT.value) as results:
            results |= _results.about(_SECTIONS, _ROUNDS)
            results["others"] = _others(peers)
            results["load"] = {"before": os.getloadavg()}
            results["sections"] = {
                name: _MEASURES[name](peers) for name in _SECTIONS.value
            }
            results["load"]["after"] = os.getloadavg()
    print(page.render(results), end="")


def _started():
    for name, (flag, module) in _PEERS.items():
        if flag.value is None:
            _results.progress(f"No --{flag.name}: its rows are left out.")
        else:
            yield name, peers_lib.Peer(flag.name, flag.value, module)


def _others(peers):
    """The versions of all packages beside those of `_results.about`."""
    versions = {"tf_keras": layers.tf_keras_version()}
    for peer in peers.values():
        versions |= peer.versions
    return versions


_MEASURES = {
    "times": lambda peers: layers.times(
        peers, rounds=_ROUNDS.value, progress=_results.progress
    ),
    "errors": lambda peers: layers.errors(peers, progress=_results.progress),
    "findings": lambda peers: findings.measure(peers, progress=_results.progress),
    "features": lambda peers: features.measure(peers, progress=_results.progress),
    "diagnostics": lambda peers: features.diagnostics(
        peers, progress=_results.progress
    ),
    "hessians": lambda peers: hessians.measure(
        peers, rounds=_ROUNDS.value, progress=_results.progress
    ),
}


if __name__ == "__main__":
    cli.run(main)
