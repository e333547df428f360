"""Reads the logs of a job as they grow: one file, or one for each task of an array and each link of a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MOST_LOGS = 100
"""Each file is asked for by itself, and a site should not be asked a thousand times at once."""


class LogReader:
    """Remembers how far each file was read.

    Args:
        read: Gives the next bytes of a file from an offset on; nothing at its end, ``None`` while there is no file.
    """

    def __init__(self, read: Callable[[str, int], bytes | None]) -> None:
        self._read = read
        self._offsets: dict[str, int] = {}
        self._shown = ""

    def more(self, paths: Sequence[str]) -> Iterator[bytes]:
        """What is new in these files; where there are several, a heading says whose it is.

        Raises:
            InputError: There are too many.
        """
        if len(paths) > MOST_LOGS:
            raise InputError(
                f"the job has {len(paths)} logs, and {MOST_LOGS} are read at once at most.",
                hint=f"Name one task, such as {paths[0].rpartition('/')[2].removesuffix('.out')}.",
            )
        for path in paths:
            while chunk := self._read(path, self._offsets.get(path, 0)):
                if len(paths) > 1 and path != self._shown:
                    heading = path.rpartition("/")[2].removesuffix(".out")
                    yield f"{chr(10) if self._shown else ''}==> {heading} <==\n".encode()
                    self._shown = path
                self._offsets[path] = self._offsets.get(path, 0) + len(chunk)
                yield chunk
