"""What tfbn, Keras and tf_keras have for the batch-norm layers of whole models."""

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from _compare import probing

import tfbn

_BACKENDS = {
    "tfbn": probing.no("raises an ImportError without TensorFlow's", "read"),
    "keras": probing.yes("JAX and PyTorch, too", "read"),
    "tf_keras": probing.no("has TensorFlow alone", "read"),
}
_KERAS = {"tfbn": keras, "keras": keras, "tf_keras": tf_keras}


def probes(library):
    """A dict from name to a function without arguments."""
    own = library == "tfbn"
    clone = (lambda: _cloning(_KERAS[library])) if not own else _replacing
    freeze = (lambda: _freezing_one(_KERAS[library])) if not own else _freezing
    anew = probing.absent(_KERAS[library].utils, "recalibrate", "update_bn")
    return {
        "recalibration": _recalibration if own else anew,
        "surgery": clone,
        "freezing": freeze,
        "folding": lambda: _folding(library),
        "backends": _BACKENDS[library],
    }


def _model(library, norm=None):
    layers = _KERAS[library].layers
    norm = norm or (tfbn.BatchNorm if library == "tfbn" else layers.BatchNormalization)
    inputs = layers.Input((8, 8, 2))
    outputs = norm()(layers.Conv2D(3, 3, use_bias=False)(inputs))
    return _KERAS[library].Model(inputs, outputs)


def _recalibration():
    model = _model("tfbn")
    x = probing.data((16, 8, 8, 2))
    tfbn.recalibrate(model, tf.data.Dataset.from_tensors(x))
    expected = np.mean(model.layers[1](x), (0, 1, 2))
    error = probing.distance(model.layers[-1].moving_mean, expected)
    return probing.check(error < 1e-5, "tfbn.recalibrate")


def _replacing():
    model = _model("keras")
    x = probing.data((4, 8, 8, 2))
    replaced = tfbn.replace_batch_norm(model, tfbn.BatchRenorm, verbose=False)
    good = isinstance(replaced.layers[-1], tfbn.BatchRenorm)
    good = good and probing.distance(replaced(x), model(x)) < 1e-5
    return probing.check(good, "tfbn.replace_batch_norm")


def _cloning(library):
    model = _model("keras" if library is keras else "tf_keras")
    norm = library.layers.BatchNormalization

    def cloned(layer):
        config = layer.get_config()
        more = {"renorm": True} if isinstance(layer, norm) else {}
        return type(layer).from_config({**config, **more})

    model = library.models.clone_model(model, clone_function=cloned)
    if not model.layers[-1].renorm:
        return probing.no("clone_model")
    return probing.partly("clone_model with a clone_function; without the weights")


def _freezing():
    model = _model("tfbn")
    tfbn.freeze_batch_norm(model)
    return probing.check(not model.layers[-1].trainable, "tfbn.freeze_batch_norm")


def _freezing_one(library):
    layer = library.layers.BatchNormalization(epsilon=0.0)
    x = probing.data()
    layer.build(x.shape)
    layer.trainable = False
    if probing.distance(layer(tf.constant(x), training=True), x) > 1e-5:
        return probing.no("trainable = False")
    return probing.partly("trainable = False, layer by layer")


def _folding(library):
    model = _model(library)
    if library == "tf_keras":
        call = tf.function(lambda x: model(x, training=False), autograph=False)
        concrete = call.get_concrete_function(tf.TensorSpec((1, 8, 8, 2)))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    names = {detail["op_name"] for detail in interpreter._get_ops_details()}
    names.discard("DELEGATE")
    return probing.check(names == {"CONV_2D"}, f"TensorFlow Lite: {sorted(names)}")
