"""The console commands: `tfbn-train` runs train.py of this folder, and so on.

Installed, this folder is the package `tfbn_scripts`. A command runs the very file that
`python scripts/train.py` runs in a clone, so that TensorFlow's start-up notes are held
back before anything imports it, and processes that the script starts find it again.
"""

import os
import runpy
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))


def train() -> None:
    """Runs train.py."""
    _run("train.py")


def diagnose() -> None:
    """Runs diagnose.py."""
    _run("diagnose.py")


def plot() -> None:
    """Runs plot.py."""
    _run("plot.py")


def reproduce() -> None:
    """Runs reproduce.py."""
    _run("reproduce.py")


def convert() -> None:
    """Runs convert.py."""
    _run("convert.py")


def _run(name):
    sys.path.insert(0, _FOLDER)  # as Python does for a script
    runpy.run_path(os.path.join(_FOLDER, name), run_name="__main__")
