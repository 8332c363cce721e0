"""Results of a script in a JSON file, and its progress on stderr."""

import contextlib
import datetime
import json
import sys

from tfbn import environment
from tfbn.files import atomic


def about(*settings, **more):
    """Returns the results before anything is measured.

    Args:
        *settings: the holders of the flags that decide what is measured.
        **more: further settings.
    """
    return {
        "date": now(),
        "machine": environment.machine(),
        "versions": environment.versions(),
        "settings": {flag.name: flag.value for flag in settings} | more,
    }


def now():
    """Returns the time in UTC, as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def progress(text):
    """Prints a line to stderr."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def written_to(path):
    """Yields an empty dict, and writes what it holds at the end to `path`, if any."""
    results = {}
    with atomic.replacing(path) if path else contextlib.nullcontext() as file:
        yield results
        if file is not None:
            json.dump(results, file, indent=1, allow_nan=False)


def earlier(path, out, render):
    """Returns the results in a file as text.

    Args:
        path: the value of --from.
        out: the value of --out, which must not be given.
        render: function from results to text.
    """
    if out:
        raise ValueError("--from measures nothing to write. Leave out --out.")
    with open(path, encoding="utf-8") as file:
        try:
            return render(json.load(file))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"--from must name a file that --out has written. Received: {path}."
            ) from error
