"""What is remembered of login nodes: which did not answer lately. Shared by all processes of a user.

``$AIFA_STATE_DIR/ssh/nodes.json``, one record a host::

    {"login01.jupiter.fz-juelich.de": {"at": 1795507200.0, "why": "it cannot be reached"}}

Two processes that write at once may lose one of the records, and an unreadable file counts as empty: the worst that
follows is one more attempt.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

REMEMBERED_SECONDS = 600.0
"""A node that failed is tried last for so long; then it may be as good as any."""


class NodeMemory:
    """Health of login nodes.

    Args:
        path: The file; its folder is there when something is written.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def order(self, hosts: Iterable[str]) -> list[str]:
        """The hosts as they should be tried: those without a recent failure as given, then the longest ago first."""
        failures = self._recent()
        return sorted(hosts, key=lambda host: failures.get(host, {}).get("at", 0.0))

    def failure(self, host: str) -> str:
        """Why a host failed lately; empty when it did not."""
        return str(self._recent().get(host, {}).get("why", ""))

    def failed(self, host: str, why: str) -> None:
        """Remembers that a host did not answer."""
        self._write(self._recent() | {host: {"at": self._clock(), "why": why}})

    def answered(self, host: str) -> None:
        """Forgets a failure."""
        failures = self._recent()
        if failures.pop(host, None) is not None:
            self._write(failures)

    def _recent(self) -> dict[str, dict[str, Any]]:
        now = self._clock()
        try:
            found = json.loads(self._path.read_text("utf-8"))
            # A time in the future is of a clock that was set right since.
            return {host: one for host, one in found.items() if 0 <= now - one["at"] < REMEMBERED_SECONDS}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _write(self, failures: dict[str, dict[str, Any]]) -> None:
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        # A memory that cannot be written is none, and no reason to stop.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(failures, file)
            fresh.replace(self._path)
