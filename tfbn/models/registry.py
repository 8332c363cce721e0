"""The networks that a run can name."""

from tfbn.models import _deep_linear
from tfbn.models import _mlp
from tfbn.models import _resnet
from tfbn.models import _vgg
from tfbn.registry import Registry

NETWORKS = Registry(
    "model",
    _vgg.NETWORK,
    _deep_linear.NETWORK,
    _mlp.NETWORK,
    _resnet.NETWORK,
)
