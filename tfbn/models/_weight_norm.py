"""Weight normalisation (Salimans & Kingma 2016, arXiv 1602.07868)."""

import keras


class _Normalized(keras.layers.Layer):
    """A layer whose kernel is `gain * v / |v|`, for each output channel.

    The gain begins as |v|, so the layer as it is without. (The paper's data-dependent
    initialisation, its eq. 5 and 6, is left out.)
    """

    def build(self, input_shape):
        super().build(input_shape)
        v = super().kernel
        self.gain = self.add_weight(
            name="gain",
            shape=(v.shape[-1],),
            initializer=lambda shape, dtype: keras.ops.cast(_norm(v), dtype),
        )

    @property
    def kernel(self):
        """The kernel that the layer multiplies by."""
        v = super().kernel
        if not hasattr(self, "gain"):
            return v
        norm = _norm(v)
        gain = keras.ops.cast(self.gain, norm.dtype)
        # A channel whose v is 0 stays 0.
        scale = keras.ops.where(norm > 0, gain / keras.ops.where(norm > 0, norm, 1), 0)
        return keras.ops.convert_to_tensor(v) * keras.ops.cast(scale, v.dtype)

    # Those of the layers that are extended know of no gain.
    def save_own_variables(self, store):
        """Stores all weights."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        """Sets all weights."""
        keras.layers.Layer.load_own_variables(self, store)


def _norm(v):
    v = keras.ops.convert_to_tensor(v)
    return keras.ops.sqrt(keras.ops.sum(v**2, axis=tuple(range(len(v.shape) - 1))))


@keras.saving.register_keras_serializable("tfbn")
class WeightNormDense(_Normalized, keras.layers.Dense):
    """`Dense` with weight normalisation."""


@keras.saving.register_keras_serializable("tfbn")
class WeightNormConv2D(_Normalized, keras.layers.Conv2D):
    """`Conv2D` with weight normalisation."""


_CLASSES = {
    keras.layers.Dense: WeightNormDense,
    keras.layers.Conv2D: WeightNormConv2D,
}


class WeightNorm:
    """As a network's `norm`: its layers have normalised kernels, and no other norm."""

    def __call__(self):
        raise ValueError(
            "norm=weight_norm replaces dense layers and convolutions, and so needs a "
            "network of these: model=vgg, mlp or resnet. Received: another."
        )

    def of(self, layer: type[keras.layers.Layer]) -> type[keras.layers.Layer]:
        """The class that replaces a class of layers."""
        return _CLASSES[layer]
