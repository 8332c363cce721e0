"""Builders of the networks that the papers train.

Each takes `norm`: None, or a callable without arguments that returns a new
normalisation layer, such as a layer class.
"""

from tfbn.models._deep_linear import deep_linear
from tfbn.models._mlp import mlp
from tfbn.models._resnet import resnet
from tfbn.models._vgg import vgg

__all__ = ["deep_linear", "mlp", "resnet", "vgg"]
