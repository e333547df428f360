"""Appends events to a file, one JSON object a line."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING

from aifa_hpc.errors import DeliveryError
from aifa_hpc.tracker.sinks.base import EventSink, event_fields

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence
    from pathlib import Path

    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.store import Store

_BLOCK = 4096


class JsonLines(EventSink):
    """A file that grows; made with mode 0600.

    Args:
        name: As the user named it.
        path: The file; its folder must be there.
        since: Earlier events are passed over.
    """

    kind = "jsonl"
    batch = 1000

    def __init__(self, name: str, path: Path, *, since: datetime.datetime | None = None) -> None:
        super().__init__(name, since=since)
        self._path = path

    def send(self, events: Sequence[Event], store: Store) -> None:
        del store
        data = "".join(f"{json.dumps(event_fields(event), ensure_ascii=False)}\n" for event in events).encode()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                end = _whole(file)
                os.ftruncate(file, end)  # half a line is left when its writer was killed or the disk was full
                while data:
                    written = os.pwrite(file, data, end)
                    data, end = data[written:], end + written
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise DeliveryError(
                f"events cannot be written to {self._path}: {error.strerror}.",
                hint="Make the folder, or free space there; they are written the next time.",
            ) from error


def _whole(file: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - _BLOCK)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0
