"""Ctrl-C and SIGTERM as requests to stop at the next good moment."""

import os
import signal
import sys
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While open, the first SIGINT or SIGTERM waits until it is asked about.

    A second one acts at once, as without this. Only Python's main thread can step in;
    in another thread signals are as they were.

    Attributes:
        signal: the `signal.Signals` that came, or None.
    """

    def __init__(self):
        self.signal = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # One that is ignored, as in a background job, stays so.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused_exception):
        self._restore_handlers()

    def act(self, message):
        """Ends what was interrupted, if it was.

        Args:
            message: function that returns what to say on stderr; called only then.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: with status 143 (128 + 15) after SIGTERM.
        """
        if self.signal is None:
            return
        print(message(), file=sys.stderr, flush=True)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)

    def _note(self, number, unused_frame):
        self.signal = signal.Signals(number)
        self._restore_handlers()
        # Not print: the signal may have come in the middle of one.
        name = "Ctrl-C" if self.signal == signal.SIGINT else self.signal.name
        note = f"\n{name}: stopping after this step; a second one stops at once.\n"
        os.write(2, note.encode())

    def _restore_handlers(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
