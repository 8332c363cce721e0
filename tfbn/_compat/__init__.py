"""Every private or version-bound name of its dependencies that tfbn uses.

One function per name. A name is looked up when its function is first called: a version
that has moved it breaks only what needs it, with an error that says so.
tests/compat checks what each function does.
"""

from tfbn._compat.distribution import bound_waiting
from tfbn._compat.distribution import outside_strategy
from tfbn._compat.distribution import seeds_of_replicas
from tfbn._compat.distribution import summed_gradients
from tfbn._compat.distribution import unscaled_losses
from tfbn._compat.keras_names import call_has_training_arg
from tfbn._compat.keras_names import compile_loss
from tfbn._compat.keras_names import copy_compile_loss
from tfbn._compat.keras_names import copy_of_lambda
from tfbn._compat.keras_names import flatten_layers
from tfbn._compat.keras_names import keras_mask
from tfbn._compat.keras_names import replace_sublayer
from tfbn._compat.keras_names import run_through_graph
from tfbn._compat.keras_names import stored_beside
from tfbn._compat.keras_names import sublayers
from tfbn._compat.matplotlib_names import stop_aligning_ylabel
from tfbn._compat.tensorflow_names import current_graph
from tfbn._compat.tensorflow_names import device_scope
from tfbn._compat.tensorflow_names import has_tangent
from tfbn._compat.tensorflow_names import in_xla_context
from tfbn._compat.tensorflow_names import is_exporting
from tfbn._compat.tensorflow_names import is_recorded
from tfbn._compat.tensorflow_names import onednn_enabled
from tfbn._compat.tensorflow_names import parts_of_graph
from tfbn._compat.tensorflow_names import recomputation
from tfbn._compat.tensorflow_names import stop_recording
from tfbn._compat.tensorflow_names import summary_metadata
from tfbn._compat.tensorflow_names import twice_differentiable_moments
