"""Trains with JAX the runs that scripts/export_runs.py exported.

Usage: python run_exported.py DIR [--labels=REGEX] [--jobs=N] [--fast] [--seconds=N]

Writes DIR/results/, one file for each run, and a line for each on standard output.
Runs whose results are there are kept. scripts/import_runs.py reads the results. Exit
status: 0; 1 if a run failed; 2 for wrong input.

This file needs JAX and NumPy, and nothing else of tfbn.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import platform
import re
import sys
import time

import numpy as np

try:
    import jax
    from jaxlib import xla_client  # JAX has no public way to run a module
except ImportError:
    jax = None


def main():
    """Trains each run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument(
        "--labels", default="", help="regular expression: runs to train"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument(
        "--fast",
        action="store_true",
        help="multiply as the device does by default, such as in TensorFloat-32",
    )
    parser.add_argument("--seconds", type=float, help="begin no run after this time")
    options = parser.parse_args()
    if jax is None:
        parser.error("JAX is missing; install it, such as by: pip install jax")
    if not os.path.exists(os.path.join(options.folder, "plan.json")):
        parser.error(f"DIR must hold plan.json. Received: {options.folder}")
    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    print(
        f"JAX {jax.__version__} on {device.platform}: {device.device_kind}", flush=True
    )
    return _train_all(_Folder(options.folder, device, fast=options.fast), options)


def _train_all(folder, options):
    begin = time.perf_counter()
    runs = [
        run
        for run in folder.plan["runs"]
        if re.search(options.labels, run["label"])
        and not os.path.exists(folder.path(run))
    ]
    folder.compile(name for run in runs for name in _modules(run))

    def train(run):
        seconds = time.perf_counter() - begin
        if options.seconds and seconds > options.seconds:
            return 0
        what = f"{seconds:.0f} s: {run['label']}, seed {run['seed']}"
        try:
            print(f"{what}: {_trained(folder, run)}", flush=True)
        except Exception as error:  # the other runs go on
            print(f"{what}: {type(error).__name__}: {error}", flush=True)
            return 1
        return 0

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        failures = sum(pool.map(train, runs))
    print(f"{time.perf_counter() - begin:.0f} s: {failures} runs failed", flush=True)
    return min(failures, 1)


def _trained(folder, run):
    """Trains a run and writes its results; returns its time and its last metrics."""
    for name in _modules(run):
        folder.program(name)  # compiled before the clock runs
    begin = time.perf_counter()
    results = _Run(folder, run).train()
    seconds = time.perf_counter() - begin
    folder.write(run, results, seconds)
    return f"{seconds:.1f} s, {results['metrics'][-1]}"


def _modules(run):
    calls = [run["steps"], run["batch"], *run["evaluations"].values()]
    calls += run["recalibrations"].values()
    calls += [call for calls in run["meters"].values() for call in calls]
    return [call["module"] for call in [*calls, run["draw"]] if call]


class _Folder:
    """The export, its programs compiled and its arrays on the device when needed."""

    def __init__(self, path, device, *, fast):
        with open(os.path.join(path, "plan.json"), encoding="utf-8") as file:
            self.plan = json.load(file)
        self._path, self._device, self._fast = path, device, fast
        with np.load(os.path.join(path, "arrays.npz")) as arrays:
            self._arrays = dict(arrays)
        self._programs, self._on_device = {}, {}
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)

    def array(self, name):
        """An array as the exporter kept it."""
        return self._arrays[name]

    def put(self, value):
        """A value on the device."""
        return jax.device_put(value, self._device)

    def on_device(self, name):
        """An array of data, or one of the others, on the device."""
        if name not in self._on_device:
            value = self._arrays.get(name)
            if value is None:
                value = np.load(os.path.join(self._path, "data", f"{name}.npy"))
            self._on_device[name] = self.put(value)
        return self._on_device[name]

    def compile(self, names):
        """Begins to compile modules, in this order."""
        for name in names:
            if name not in self._programs:
                self._programs[name] = self._pool.submit(self._compiled, name)

    def program(self, name):
        """A module as a function from a list of arrays to a list of arrays."""
        return self._programs[name].result()

    def _compiled(self, name):
        path = os.path.join(self._path, "modules", f"{name}.stablehlo")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        text = text if self._fast else _exact(text)
        program = self._device.client.compile_and_load(
            text, xla_client.DeviceList((self._device,)), xla_client.CompileOptions()
        )

        def run(inputs):
            results = program.execute_sharded(inputs)
            return [r[0] for r in results.disassemble_into_single_device_arrays()]

        return run

    def path(self, run):
        """The file of a run's results."""
        return os.path.join(self._path, run["results"])

    def write(self, run, results, seconds):
        """Writes the results of a run, under its final name when they are complete."""
        origin = {
            "seconds": seconds,
            "device": getattr(self._device, "device_kind", str(self._device)),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "jax": getattr(jax, "__version__", None),
            "fast": self._fast,
        }
        path = self.path(run)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.partial", "wb") as file:
            np.savez_compressed(file, origin=json.dumps(origin), **results)
        os.replace(f"{path}.partial", path)


class _Run:
    """One run: its state, and the loop over its steps."""

    def __init__(self, folder, run):
        self._folder, self._run = folder, run
        self._data = {k: folder.on_device(v) for k, v in run["data"].items()}
        self._data |= {k: folder.on_device(v) for k, v in run["constants"].items()}
        drawn = self._call(run["draw"])[0] if run["draw"] else []
        self._initial = [
            drawn[value] if isinstance(value, int) else folder.put(folder.array(value))
            for value in run["initial"]
        ]
        self._state = list(self._initial)
        self._rows = {
            kind: [folder.put(row) for row in folder.array(name).astype(np.int32)]
            for kind, name in run["rows"].items()
        }

    def train(self):
        """Makes all steps; returns the arrays that the run's records are made of."""
        run, results = self._run, {}
        indices = self._folder.put(self._folder.array(run["indices"]).astype(np.int32))
        metrics = []
        for begin, end in itertools.pairwise(self._stops()):
            before = self._state
            span = {"begin": np.int32(begin), "end": np.int32(end)}
            (rows,), self._state = self._call(
                run["steps"],
                indices=indices,
                **{name: self._folder.put(value) for name, value in span.items()},
            )
            metrics.append(np.asarray(rows)[begin:end])
            due = [name for name, steps in run["measured"].items() if begin in steps]
            if due:
                results |= self._measured(begin, due, indices[begin], before)
            if end in run["evaluated"]:
                results |= self._evaluated(end)
        results = {name: np.asarray(value) for name, value in results.items()}
        return results | {"metrics": np.concatenate(metrics)}

    def _stops(self):
        """The steps between which nothing else is done; measured ones stand alone."""
        run = self._run
        measured = {step for steps in run["measured"].values() for step in steps}
        stops = {0, run["train_steps"], *run["evaluated"], *measured}
        return sorted(stops | {step + 1 for step in measured})

    def _call(self, call, state=None, **named):
        """The results of a module, and the state with what it writes."""
        state = getattr(self, "_state", []) if state is None else state
        named["state"] = state
        inputs = [self._input(name, named) for name in call["inputs"]]
        outputs = self._folder.program(call["module"])(inputs)
        after = list(state)
        written = outputs[call["num_results"] :]
        for place, value in zip(call["writes"], written, strict=True):
            after[place] = value
        return outputs[: call["num_results"]], after

    def _input(self, name, named):
        if name in self._data:
            return self._data[name]
        kind, _, place = name.partition(":")
        return named[kind][int(place)] if place else named[kind]

    def _measured(self, step, due, indices, before):
        batch, _ = self._call(self._run["batch"], indices=indices)
        if not hasattr(self, "_probe"):
            self._probe = batch  # that of step 0, when all diagnostics measure
        named = {
            "before": before,
            "after": self._state,
            "batch": batch,
            "probe": self._probe,
        }
        return {
            f"{name}/{step}/{i}/{k:03d}": value
            for name in due
            for i, call in enumerate(self._run["meters"][name])
            for k, value in enumerate(self._call(call, **named)[0])
        }

    def _evaluated(self, step):
        number = self._run["num_metric_variables"]
        first = len(self._state) - number
        results = {}
        for kind, call in self._run["evaluations"].items():
            state = self._recalibrated(kind)[:first] + self._initial[first:]
            for i, row in enumerate(self._rows[kind]):
                values, state = self._call(call, state=state, indices=row)
                for k, value in enumerate(values):
                    results[f"{kind}/{step}/{i}/{k:03d}"] = value
            for k, value in enumerate(state[first:] if call["writes"] else []):
                results[f"{kind}/{step}/metrics/{k:03d}"] = value
        return results

    def _recalibrated(self, kind):
        """The state with which an evaluation begins."""
        call = self._run["recalibrations"].get(kind)
        if call is None:
            return self._state
        indices = self._folder.array(self._run["recalibration_rows"][kind])
        return self._call(call, indices=self._folder.put(indices.astype(np.int32)))[1]


def _exact(text):
    """A module whose products are those of its data type, not of TensorFloat-32."""
    pattern = r"precision = \[DEFAULT, DEFAULT\]|#stablehlo<precision DEFAULT>"
    return re.sub(pattern, lambda match: match[0].replace("DEFAULT", "HIGHEST"), text)


if __name__ == "__main__":
    sys.exit(main())
