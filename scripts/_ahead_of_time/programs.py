"""The programs that are compiled: operations, layers, and steps of whole networks.

Each is a `Program`; nothing of it is computed here.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import keras
import tensorflow as tf
from _ahead_of_time import networks
from _ahead_of_time import replicas
from _benchmark import candidates
from _benchmark import stablehlo

import tfbn
from tfbn import ops
from tfbn.commands.list_flags import shape_text
from tfbn.ops import accelerator_batch
from tfbn.ops import formula
from tfbn.ops import requests

SHAPES = ((256, 56, 56, 64), (256, 14, 14, 512), (1024, 256))
DTYPES = ("float32", "bfloat16")
# One shape for what is asked of the layers beside a plain batch.
VARIANT_SHAPE = (64, 14, 14, 128)
VIRTUAL_BATCH_SIZE = 16
# What each replica has of a batch of 512.
_REPLICA_SHAPE = (512 // replicas.NUMBER, 32, 32, 3)

LAYERS = {
    "keras_bn": keras.layers.BatchNormalization,
    "tfbn_bn": tfbn.BatchNorm,
    "tfbn_renorm": tfbn.BatchRenorm,
    "tfbn_lp": tfbn.LpBatchNorm,
    "tfbn_noisy": tfbn.NoisyBatchNorm,
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to compile.

    Attributes:
        section: "passes", "layers", "networks" or "replicas".
        what: str, the operation, the layer or the network's normalisation.
        variant: str, what is done with it.
        shape: tuple, that of its input.
        dtype: str, that of its input.
        make: a function that returns `(function, specs)`.
        replicas: int, how many run it together.
    """

    section: str
    what: str
    variant: str
    shape: tuple[int, ...]
    dtype: str
    make: Callable = dataclasses.field(compare=False)
    replicas: int = 1

    def described(self) -> dict:
        """Its fields, for a table."""
        fields = dataclasses.asdict(self)
        del fields["make"], fields["replicas"]
        return fields

    @property
    def name(self) -> str:
        """A name for its file."""
        parts = (self.section, self.what, self.variant, shape_text(self.shape))
        return "_".join((*parts, self.dtype)).replace(" ", "_")

    def text(self, target: str) -> str:
        """Its StableHLO for "cpu", "gpu" or "tpu"."""
        function, specs = self.make()
        return stablehlo.module_text(stablehlo.compiled(function), specs, target)


def all_programs(sections: Sequence[str]) -> list[Program]:
    """The programs of some of the sections."""
    makers = {
        "passes": _passes,
        "layers": _layers,
        "networks": _networks,
        "replicas": _replicas,
    }
    return [program for section in sections for program in makers[section]()]


def _passes():
    """The forward and the backward pass of `ops.batch_norm` on their own."""
    return [
        Program("passes", "batch_norm", variant, shape, dtype, make(shape, dtype))
        for variant, make in (("forward", _forward), ("backward", _backward))
        for shape in SHAPES
        for dtype in DTYPES
    ]


def _forward(shape, dtype):
    def call(x, gamma, beta):
        y, statistics = ops.batch_norm(
            x, gamma, beta, axis=len(shape) - 1, epsilon=candidates.EPSILON
        )
        return y, statistics.mean, statistics.spread

    return lambda: (call, [tf.TensorSpec(shape, dtype), *_vectors(shape[-1], 2)])


def _backward(shape, dtype):
    def call(x, dy, mean, remainder, scale, gain):
        request = requests.request("batch_norm", x, len(shape) - 1)
        x, dy = (tf.cast(t, tf.float32) for t in (x, dy))
        batch = accelerator_batch.make_batch(x, request)
        mean, remainder, scale, gain = map(
            batch.statistic, (mean, remainder, scale, gain)
        )
        statistics = ops.Statistics(mean, remainder, scale, scale, tf.constant(True))
        dx, dgain, doffset = formula.gradients(
            batch.view(x), statistics, batch, batch.view(dy), gain
        )
        dx = tf.cast(batch.restore(dx), dtype)
        return dx, batch.vector(dgain), batch.vector(doffset)

    data = tf.TensorSpec(shape, dtype)
    return lambda: (call, [data, data, *_vectors(shape[-1], 4)])


def _vectors(size, count):
    return [tf.TensorSpec([size], tf.float32)] * count


def _layers():
    plain = [
        Program("layers", name, "training", shape, dtype, _step(name, shape, dtype))
        for shape in SHAPES
        for dtype in DTYPES
        for name in LAYERS
    ]
    return plain + [
        Program("layers", name, variant, VARIANT_SHAPE, dtype, make(name, dtype))
        for variant, make in _VARIANTS.items()
        for dtype in DTYPES
        for name in LAYERS
        if name != "keras_bn"
    ]


def _step(name, shape, dtype, *, masked=False, **options):
    def make():
        layer = _built_layer(name, shape, dtype, **options)
        call_options = {}
        if masked:
            lengths = tf.range(shape[0]) % shape[1] + 1
            mask = tf.sequence_mask(lengths, shape[1])
            call_options["mask"] = tf.reshape(
                mask, [*shape[:2], *[1] * (len(shape) - 3)]
            )
        function = stablehlo.training_step(layer, **call_options)
        specs = [tf.TensorSpec(shape, dtype)] * 2
        return function, [*specs, *stablehlo.weight_specs(layer)]

    return make


def _inference(name, dtype):
    def make():
        layer = _built_layer(name, VARIANT_SHAPE, dtype)
        num_affine = len(layer.trainable_variables)

        def call(x, *weights):
            affine = list(weights[:num_affine])
            state = stablehlo.state_of(layer, weights[num_affine:])
            return layer.stateless_call(affine, state, x, training=False)[0]

        images = tf.TensorSpec(VARIANT_SHAPE, dtype)
        return call, [images, *stablehlo.weight_specs(layer)]

    return make


_VARIANTS = {
    "inference": _inference,
    "virtual batches": lambda name, dtype: _step(
        name, VARIANT_SHAPE, dtype, virtual_batch_size=VIRTUAL_BATCH_SIZE
    ),
    "mask": lambda name, dtype: _step(name, VARIANT_SHAPE, dtype, masked=True),
    "axis 1": lambda name, dtype: _step(name, VARIANT_SHAPE, dtype, axis=1),
}


def _built_layer(name, shape, dtype, **options):
    layer = LAYERS[name](dtype=candidates.policy(dtype), **options)
    layer.build(shape)
    return layer


def _networks():
    built = {
        "VGG-A": (networks.vgg, (512, 32, 32, 3)),
        "ResNet50V2": (networks.resnet50, (64, 224, 224, 3)),
    }
    return [
        Program(
            "networks",
            norm,
            name,
            shape,
            dtype,
            networks.training_step(build, norm, shape, dtype),
        )
        for name, (build, shape) in built.items()
        for dtype in DTYPES
        for norm in networks.NORMS
        # There is no ResNet50V2 without normalisation.
        if (name, norm) != ("ResNet50V2", "none")
    ]


def _replicas():
    layers = {
        name: ("training", VARIANT_SHAPE, _replicated_layer(name))
        for name in ("tfbn_bn", "tfbn_renorm", "tfbn_lp")
    }
    vggs = {
        norm: ("VGG-A", _REPLICA_SHAPE, _replicated_vgg(norm))
        for norm in ("none", "tfbn_bn", "tfbn_renorm")
    }
    return [
        Program("replicas", what, variant, shape, "float32", make, replicas.NUMBER)
        for what, (variant, shape, make) in (*layers.items(), *vggs.items())
    ]


def _replicated_layer(name):
    def make():
        step = _step(name, VARIANT_SHAPE, "float32", synchronized=True)
        function, specs = step()
        return replicas.replicated(function), specs

    return make


def _replicated_vgg(norm):
    def build(norm):
        return tfbn.synchronize(networks.vgg(norm))

    def make():
        step = networks.training_step(
            build, norm, _REPLICA_SHAPE, "float32", replicas.all_reduce
        )
        function, specs = step()
        return replicas.replicated(function), specs

    return make
