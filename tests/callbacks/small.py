"""Small models of every kind, compiled, and what watches their fits."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tfbn.diagnostics import Meter
from tfbn.diagnostics.measurement import Cost

BATCH = 8


def data(size=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 4)), rng.normal(size=(size, 2))


def _noisy():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, kernel_regularizer="l2")(inputs)
    x = tfbn.ActivationNoise(mean_range=0.1)(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dropout(0.2)(keras.ops.tanh(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def _functional():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, kernel_regularizer="l2", activation="tanh")(inputs)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def _sequential():  # not built before it is trained
    return keras.Sequential(
        [
            keras.layers.Dense(6, activation="tanh"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )


class Subclassed(keras.Model):  # not built either
    def __init__(self):
        super().__init__()
        self.first = keras.layers.Dense(6)
        self.norm = keras.layers.BatchNormalization()
        self.noise = keras.layers.GaussianNoise(0.1)
        self.last = keras.layers.Dense(2, bias_regularizer="l1")

    def call(self, x, training=None):
        x = keras.ops.relu(self.norm(self.first(x), training=training))
        return self.last(self.noise(x, training=training))


class Modeless(Subclassed):
    def call(self, x):
        return self.last(self.noise(keras.ops.relu(self.norm(self.first(x)))))


def _two_outputs():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    x = keras.layers.Dense(6, kernel_regularizer="l2")(inputs["a"] * inputs["b"])
    outputs = {
        name: keras.layers.Dense(2, name=name)(keras.layers.Dropout(0.2)(x))
        for name in ("p", "q")
    }
    return keras.Model(inputs, outputs)


_COMPILED = {
    "noisy": (_noisy, {"loss": "mse", "metrics": ["mae"]}),
    "functional": (_functional, {"loss": "mse"}),
    "sequential": (_sequential, {"loss": keras.losses.Huber()}),
    "subclassed": (Subclassed, {"loss": lambda y, p: keras.ops.square(y - p)}),
    "modeless": (Modeless, {"loss": "mse"}),
    "two_outputs": (
        _two_outputs,
        {"loss": {"p": "mse", "q": "mae"}, "loss_weights": {"p": 2.0, "q": 0.5}},
    ),
}


def compiled(name, optimizer=None, *, run_eagerly=True, **options):
    # Eager training saves the time of tracing, where it makes no difference.
    keras.utils.set_random_seed(3)
    make, compile_ = _COMPILED[name]
    model = make()
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
    model.compile(
        optimizer,
        **{"jit_compile": False, **compile_, **options},
        run_eagerly=run_eagerly,
    )
    return model


def data_for(name):
    x, y = data()
    if name == "two_outputs":
        return {"a": x, "b": x[::-1].copy()}, {"p": y, "q": -y}
    return x, y


def probe(x, y):
    return tf.nest.map_structure(lambda array: array[:BATCH], (x, y))


def fit(model, x, y, *watching, epochs=2, batch_size=BATCH, shuffle=True):
    options = {"epochs": epochs, "batch_size": batch_size, "shuffle": shuffle}
    return model.fit(x, y, callbacks=list(watching), verbose=0, **options).history


def spy(steps):
    """A function of meters that keeps the steps."""

    class Spy(Meter):
        cost = Cost(0.0, 0)

        def measure(self, step):
            steps.append(step)
            return {"spy": {"number": float(len(steps))}}

    return lambda model: [Spy()]


def place(variables, norm):
    """The index of a layer's moving mean."""
    return [v is norm.moving_mean for v in variables].index(True)


class Weights(keras.callbacks.Callback):
    """Keeps all weights before and after each batch."""

    def __init__(self):
        super().__init__()
        self.before, self.after = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.before.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(self.model.get_weights())
