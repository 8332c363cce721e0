"""A worker of scripts/compare.py: answers requests in another interpreter.

Requests and answers are lines of JSON on stdin and stdout; arrays lie in files. A
worker imports neither tfbn nor TensorFlow, only what its interpreter has.
"""

import contextlib
import io
import json
import os
import sys
import time
import traceback

import numpy as np

WARMUPS = 3


def serve(answers):
    """Answers requests until stdin ends.

    Args:
        answers: dict from the name of a request to a function of its arguments, which
            returns what JSON can hold.
    """
    # What libraries print goes to stderr: stdout has answers only.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": answers[request.pop("do")](**request)}
        except Exception as error:  # whatever a library raises is an answer
            traceback.print_exc()
            answer = {"error": one_line(error)}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def one_line(error):
    """The class and the first line of the message of an exception."""
    text = str(error).strip().partition("\n")[0].rstrip(".:")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Calls:
    """Training calls of layers, by the names they are asked for.

    Args:
        make: function from the name of a candidate and its case to a call without
            arguments. The call returns when its results are computed: output and
            gradients of input, gamma and beta.
        to_numpy: function from such a result to an array.
    """

    def __init__(self, make, to_numpy):
        self._make = make
        self._to_numpy = to_numpy
        self._prepared = {}

    def prepare(self, key, name, case, warmups=WARMUPS):
        """Makes a layer and warms it up; `key` names it from now on."""
        call = self._prepared[key] = self._make(name, loaded(case))
        for _ in range(warmups):
            call()

    def seconds(self, key, repeats):
        """Mean seconds of `repeats` calls, after one that is not timed."""
        return seconds_of(self._prepared[key], repeats)

    def forget(self, key):
        """Frees what `prepare` made."""
        del self._prepared[key]

    def results(self, name, case, out):
        """Writes output and input gradient of a new layer's first call to `out`."""
        output, gradient = self._make(name, loaded(case))()[:2]
        np.savez(out, output=self._to_numpy(output), gradient=self._to_numpy(gradient))

    def answers(self):
        """The requests of `serve` that this object answers."""
        names = ("prepare", "seconds", "forget", "results")
        return {name: getattr(self, name) for name in names}


def seconds_of(call, repeats):
    """Mean seconds of `repeats` calls, after one that wakes caches and threads."""
    call()
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


def printed(code):
    """What a program prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<reproduction>", "exec"), {"__name__": "reproduction"})
    return out.getvalue()


def loaded(case):
    """A case with the arrays of its file `data`, by their names."""
    with np.load(case["data"]) as data:
        return {**case, **data}
