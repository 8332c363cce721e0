"""Builders of the networks that the papers train.

Each takes `norm`, a callable without arguments that makes a normalisation layer (a
layer class will do), or None.
"""

from tfbn.models._deep_linear import deep_linear
from tfbn.models._mlp import mlp
from tfbn.models._vgg import vgg

__all__ = ["deep_linear", "mlp", "vgg"]
