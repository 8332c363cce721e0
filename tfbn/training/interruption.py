"""Ctrl-C and SIGTERM as requests to stop after the current step."""

import os
import signal
import sys
import threading
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context that holds back the first SIGINT or SIGTERM until `act`.

    A second one acts at once, as without the context. Python handles signals in its
    main thread only; in another thread the context does nothing.

    Attributes:
        signal: the `signal.Signals` that was received, or None.
    """

    def __init__(self):
        self.signal: signal.Signals | None = None
        self._before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # A signal that is ignored, as in a background job, stays ignored.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *unused_exception):
        self._restore_handlers()

    def act(self, message: Callable[[], str]) -> None:
        """Raises what the signal asks for, if there was one.

        Args:
            message: returns the text to print on stderr; called only if it raises.

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
        # Not print, which the signal may have interrupted.
        name = "Ctrl-C" if self.signal == signal.SIGINT else self.signal.name
        note = f"\n{name}: stopping after this step; a second one stops at once.\n"
        os.write(2, note.encode())

    def _restore_handlers(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
