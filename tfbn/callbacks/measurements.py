"""What a `Diagnostics` callback has measured: its records, in memory and in files."""

from collections.abc import Mapping
from typing import Any

from tfbn.diagnostics import registry
from tfbn.recording.announcements import Announcer
from tfbn.recording.records import RecordWriter
from tfbn.recording.summaries import SummaryWriter


class Measurements:
    """The records of all fits, and why some diagnostics have none.

    Args:
        log_dir: str or None, the folder that they are written to as well.
        announcer: says once that a diagnostic finds nothing to measure.
    """

    def __init__(self, log_dir: str | None, announcer: Announcer):
        self._log_dir = log_dir
        self._announcer = announcer
        self._records: dict[tuple[str, int], dict[str, Any]] = {}
        self._writers: tuple[RecordWriter, SummaryWriter] | None = None
        self.left_out: dict[str, str] = {}  # name of a diagnostic -> why

    def records(self) -> list[dict[str, Any]]:
        """All records, in the order in which they were measured."""
        return list(self._records.values())

    def open(self) -> None:
        """Opens the files, where there is a folder for them."""
        self.close()
        if self._log_dir is not None:
            self._writers = RecordWriter(self._log_dir), SummaryWriter(self._log_dir)

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers or ():
            writer.close()
        self._writers = None

    def write(self, name: str, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Keeps a record of the diagnostic `name`, in place of one of the same step."""
        reason = registry[name].if_empty if name in registry else ""
        if reason and not values["layers"]:
            self.left_out[name] = reason
            self._announcer.nothing(name, reason)
            return
        self._records.pop((kind, step), None)
        self._records[kind, step] = {"step": step, "kind": kind, **values}
        if self._writers is not None:
            records, summaries = self._writers
            records.write(kind, step, **values)
            summaries.measurement(kind, step, values)
