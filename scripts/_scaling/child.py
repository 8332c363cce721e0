"""One process of a place: builds its cells, and makes steps of them when told to.

Usage: python scripts/_scaling/child.py KIND NUMBER CELLS

Prints a line of JSON with the messages of each cell, and then the seconds of each call:
one for each line `INDEX STEPS` of its input.
"""

import json
import os
import sys
import time

_SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = _SCRIPTS  # in place of this folder

import _quiet_tensorflow  # noqa: E402, F401  before anything that imports TensorFlow
import keras  # noqa: E402
from _scaling import cells as cells_lib  # noqa: E402
from _scaling import messages  # noqa: E402

from tfbn import data  # noqa: E402
from tfbn.data import ArrayBatches  # noqa: E402
from tfbn.experiment import builders  # noqa: E402
from tfbn.experiment import strategies  # noqa: E402
from tfbn.experiment.task import task_of  # noqa: E402
from tfbn.training.batch_sources import source_of  # noqa: E402
from tfbn.training.objective import Objective  # noqa: E402
from tfbn.training.replicated_step import ReplicatedSteps  # noqa: E402
from tfbn.training.step import Steps  # noqa: E402

_EXAMPLES = 512


def main():
    """Builds, counts, and obeys."""
    kind, number, texts = sys.argv[1:]
    place = cells_lib.Place(kind, int(number))
    cells = [cells_lib.Cell(*cell) for cell in json.loads(texts)]
    strategy = builders.build_strategy(cells_lib.config(place, cells[0]))
    dataset = data.shapes(num_train=_EXAMPLES, num_test=1, seed=0)
    built = [_Built(place, cell, strategy, dataset) for cell in cells]
    print(json.dumps([cell.messages for cell in built]), flush=True)
    for line in sys.stdin:
        index, num_steps = map(int, line.split())
        begin = time.perf_counter()
        built[index].steps.run(0, num_steps)
        print(json.dumps(time.perf_counter() - begin), flush=True)


class _Built:
    """The compiled steps of a cell, and their messages."""

    def __init__(self, place, cell, strategy, dataset):
        config = cells_lib.config(place, cell)
        keras.utils.set_random_seed(0)
        with strategies.scope(strategy):
            model = builders.build_model(config, dataset)
            optimizer = builders.build_optimizer(config, model)
        train = dataset.train
        sampler = builders.build_batches(config, dataset)
        source = source_of(
            ArrayBatches(
                train.inputs, train.targets, sampler, transform=dataset.standardize
            )
        )
        task = task_of(dataset)
        objective = Objective(model, task.loss, task.metrics, *source.spec)
        self.steps = _steps(config, strategy, model, optimizer, objective, source)
        self.messages = {
            "counted": messages.counted(self.steps, source),
            "foretold": messages.foretold(
                model, cell.batch_size, place.number, dataset.num_outputs
            ),
        }


def _steps(config, strategy, model, optimizer, objective, source):
    """As a `Trainer` makes them."""
    parts = model, optimizer, objective, source
    if strategy is None:
        return Steps(*parts, on_nonfinite=config.on_nonfinite)
    return ReplicatedSteps(*parts, strategy=strategy, on_nonfinite=config.on_nonfinite)


if __name__ == "__main__":
    main()
