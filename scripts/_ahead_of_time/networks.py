"""Training steps of whole networks, with each normalisation."""

import keras
import tensorflow as tf
from _benchmark import candidates
from _benchmark import stablehlo

import tfbn
from tfbn import dtype_policies

NORMS = {
    "none": None,
    "keras_bn": keras.layers.BatchNormalization,
    "tfbn_bn": tfbn.BatchNorm,
    "tfbn_renorm": tfbn.BatchRenorm,
}


def vgg(norm):
    """VGG-A for CIFAR-10."""
    return tfbn.models.vgg("A", norm=NORMS[norm], num_classes=10)


def resnet50(norm):
    """keras.applications' network, with its normalisation layers exchanged."""
    model = keras.applications.ResNet50V2(weights=None, classifier_activation=None)

    def exchange(layer):
        config = layer.get_config()
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer.__class__.from_config(config)
        shared = ("name", "axis", "momentum", "epsilon")
        options = {key: config[key] for key in shared}
        return NORMS[norm](**options)

    return keras.models.clone_model(model, clone_function=exchange)


def training_step(build, norm, shape, dtype, combine=lambda gradients: gradients):
    """A step of SGD as a function of images, labels and weights.

    `combine` makes the gradients of the global batch of those of the replica's.
    """

    def make():
        with dtype_policies.default(candidates.policy(dtype)):
            model = build(norm)
        num_trainable = len(model.trainable_variables)

        def step(x, labels, *weights):
            kernels = [*weights[:num_trainable]]
            before = stablehlo.state_of(model, weights[num_trainable:])
            with tf.GradientTape() as tape:
                tape.watch(kernels)
                logits, after = model.stateless_call(kernels, before, x, training=True)
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(
                        labels, tf.cast(logits, tf.float32), from_logits=True
                    )
                )
            gradients = combine(tape.gradient(loss, kernels))
            updated = [w - 0.1 * g for w, g in zip(kernels, gradients, strict=True)]
            return [loss, *updated, *(v for v in after if stablehlo.is_float(v))]

        specs = [tf.TensorSpec(shape), tf.TensorSpec(shape[:1], tf.int32)]
        return step, [*specs, *stablehlo.weight_specs(model)]

    return make
