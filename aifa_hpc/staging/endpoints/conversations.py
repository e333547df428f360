"""Conversations with agents on one machine: begun before they are needed, used again, and ended together."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aifa_hpc.errors import AifaError
from aifa_hpc.staging.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aifa_hpc.staging.remote import Foreseen
    from aifa_hpc.transport.base import Transport

_STARTERS = 8
"""Conversations that begin at a time."""


class Conversations:
    """Agents on one machine: one that is asked about files, and those of lanes.

    The first is kept apart, so that lanes on a server with few channels to give do not starve it.
    """

    def __init__(self, transport: Transport, *, python: str, place: str) -> None:
        self._transport, self._python, self._place = transport, python, place
        self._idle: list[Remote] = []
        self._lock = threading.Lock()
        self._control: Remote | None = None
        self._control_lock = threading.RLock()
        self._coming: deque[Future[Remote]] = deque()
        self._saved = 0
        self._closed = False
        self._starters = ThreadPoolExecutor(_STARTERS, thread_name_prefix="aifa-agent")

    @property
    def saved(self) -> int:
        """Bytes that those which are not at work did not have to carry, as they were packed."""
        with self._lock:
            return self._saved + sum(remote.saved for remote in self._idle)

    @property
    def round_trip(self) -> float:
        """Seconds that the quickest question took so far."""
        with self._control_lock:
            return math.inf if self._control is None else self._control.round_trip

    def expect(self, root: str, count: int) -> None:
        """Begins to start so many in the background, those that are idle included."""
        with self._lock:
            for _ in range(count - len(self._idle) - len(self._coming)):
                self._coming.append(self._starters.submit(self._begin, root))

    def foresee(self, root: str, calls: Sequence[Foreseen]) -> None:
        """Asks what will be asked soon; that begins in the background where nothing was asked yet."""
        with self._control_lock:
            if self._control is not None:
                if self._control.root == root:
                    self._control.foresee(calls)
                return
        begins = threading.Event()
        self._starters.submit(self._begin_control, root, calls, begins)
        begins.wait()

    def _begin_control(self, root: str, calls: Sequence[Foreseen], begins: threading.Event) -> None:
        with self._control_lock, contextlib.suppress(AifaError):  # who asks first tries again, and tells what is wrong
            begins.set()
            if self._control is None and not self._closed:
                self._control = self._begin(root, foreseen=calls)

    def start(self, root: str, patience: float) -> None:
        """Starts the one for questions."""
        with self._control_lock:
            self._control = Remote(self._transport, root, python=self._python, place=self._place, patience=patience)

    @contextmanager
    def control(self, root: str) -> Iterator[Remote]:
        """The one for questions, for one thread at a time."""
        with self._control_lock:
            if self._control is None:
                self._control = self._begin(root)
            remote = self._control
            try:
                if remote.root != root:
                    remote.enter(root)
                yield remote
            finally:
                if not remote.in_order:
                    self._control = None
                    remote.close()

    def take(self, root: str) -> Remote:
        """One whose paths are relative to that folder."""
        with self._control_lock:
            if self._control is not None:
                self._control.forget()  # what is there may change from now on
        with self._lock:
            remote = self._idle.pop() if self._idle else None
            coming = self._coming.popleft() if remote is None and self._coming else None
        remote = coming.result() if coming is not None else remote or self._begin(root)
        if remote.root != root:
            try:
                remote.enter(root)
            except BaseException:
                remote.close()
                raise
        return remote

    def give(self, remote: Remote) -> None:
        """Takes one back; one that is in the middle of something is of no more use."""
        if not remote.in_order:
            with self._lock:
                self._saved += remote.saved
            remote.close()
            return
        with self._lock:
            self._idle.append(remote)

    def _begin(self, root: str, foreseen: Sequence[Foreseen] = ()) -> Remote:
        return Remote(self._transport, root, python=self._python, place=self._place, foreseen=foreseen)

    def close(self) -> None:
        """Ends all that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._saved += sum(remote.saved for remote in idle)
            coming, self._coming = list(self._coming), deque()
        for future in coming:
            if not future.cancel():
                with contextlib.suppress(AifaError):  # one that did not start needs no end
                    idle.append(future.result())
        with self._control_lock:
            control, self._control, self._closed = self._control, None, True
        self._starters.shutdown(wait=False)
        idle += [control] if control is not None else []
        for remote in idle:
            remote.finish()  # so that all of them end within one round trip
        for remote in idle:
            remote.close()
