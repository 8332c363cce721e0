"""Makes training steps of a small network when told to.

Usage: python scripts/_scaling/child.py STRATEGY [OPTION=N]

Reads a line of JSON from stdin for each call, `{"norm", "batch_size", "steps"}`, and
answers it with one on stdout: the processor time in seconds, and what was sent.
"""

import json
import os
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import _quiet_tensorflow  # noqa: E402, F401  before anything that imports TensorFlow
import keras  # noqa: E402
import numpy as np  # noqa: E402
from _scaling import messages  # noqa: E402

import tfbn  # noqa: E402
from tfbn import data  # noqa: E402
from tfbn.experiment import strategies  # noqa: E402
from tfbn.training import batch_sources  # noqa: E402
from tfbn.training import replicas  # noqa: E402
from tfbn.training.objective import Objective  # noqa: E402
from tfbn.training.replicated_step import ReplicatedSteps  # noqa: E402
from tfbn.training.step import Steps  # noqa: E402

LAYERS, UNITS, CLASSES, EXAMPLES = 4, 256, 10, 2048
NORMS = {"none": None, "BatchNorm": tfbn.BatchNorm, "BatchRenorm": tfbn.BatchRenorm}


def main():
    """Answers until stdin ends."""
    name, *given = sys.argv[1:]
    entry = strategies.STRATEGIES[name]
    options = {option.name: option.default for option in entry.options}
    for key, value in (option.split("=") for option in given):
        options[key] = int(value)
    strategy = entry.build({}, **options)
    cases = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = norm, size = request["norm"], request["batch_size"]
        if key not in cases:
            cases[key] = Case(norm, size, strategy)
        print(json.dumps(cases[key].run(request["steps"])), flush=True)


class Case:
    """The training steps of a network on the replicas of a strategy, or on one device.

    Args:
        norm: str, a key of `NORMS`.
        batch_size: int, examples in the batch of all replicas.
        strategy: a `tf.distribute.Strategy`, or None.
    """

    def __init__(self, norm, batch_size, strategy):
        self._strategy = strategy
        with strategies.scope(strategy):
            self.model = _model(NORMS[norm])
            optimizer = keras.optimizers.SGD(0.01)
        self._source = batch_sources.source_of(_batches(batch_size))
        objective = Objective(
            self.model,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            (),
            *self._source.spec,
        )
        parts = self.model, optimizer, objective, self._source
        self._steps = (
            ReplicatedSteps(*parts, strategy=strategy) if strategy else Steps(*parts)
        )
        self._sent = None

    def run(self, num_steps):
        """Makes steps; returns the answer."""
        begin = time.process_time()
        self._steps.run(0, num_steps)
        seconds = time.process_time() - begin
        return {"cpu_seconds": seconds, **self.sent()}

    def sent(self):
        """What a replica sends in a step: counted, and by the formula."""
        if self._sent is None:
            number = replicas.number_of(self._strategy)
            local = len(self._strategy.extended.worker_devices) if number > 1 else 1
            graph = self._steps.graph_of(self._source.feed(0, 1))
            self._sent = {
                "counted": messages.counted(graph, local),
                "expected": messages.expected(self.model, number),
            }
        return self._sent


def _model(norm):
    keras.utils.set_random_seed(0)
    hidden = []
    for _ in range(LAYERS):
        hidden.append(keras.layers.Dense(UNITS, use_bias=norm is None))
        if norm is not None:
            hidden.append(norm(synchronized=True))
        hidden.append(keras.layers.ReLU())
    return keras.Sequential(
        [keras.Input((UNITS,)), *hidden, keras.layers.Dense(CLASSES)]
    )


def _batches(batch_size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, UNITS)).astype("float32")
    y = rng.integers(CLASSES, size=EXAMPLES)
    return data.ArrayBatches(x, y, data.IIDBatches(EXAMPLES, batch_size, seed=0))


if __name__ == "__main__":
    main()
