"""Where the scripts and their flagfiles are: in a clone, or installed."""

import os

_ABOVE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INSTALLED = os.path.join(_ABOVE, "tfbn_scripts")  # setup.py names the folder so

SCRIPTS: str = (
    _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(_ABOVE, "scripts")
)
CONFIGS: str = os.path.join(SCRIPTS, "configs")
