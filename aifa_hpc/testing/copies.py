"""Copies that a test breaks: a pair of places, bytes to carry between them, and a process that can be killed at it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import AifaError
from aifa_hpc.manifest import is_ours
from aifa_hpc.privacy.gate import clear
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.geometry import part_size, stricter
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.progress import Progress
from aifa_hpc.testing.endpoints import HOSTILE_NAMES, FolderPlace, Place
from aifa_hpc.testing.feeds import some_bytes

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.testing.proxy import Proxy
    from aifa_hpc.testing.scramble import Scrambled

_UPLOAD = "upload of "
"""How :class:`aifa_hpc.testing.stores.Bucket` names what is not complete."""

_PATIENCE_SECONDS = 120.0
_PRELOAD = ("aifa_hpc.staging.engine", "aifa_hpc.staging.endpoints.ssh", "aifa_hpc.transport.openssh")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A source and a destination, of one test.

    Attributes:
        source: An empty place for what is copied.
        target: An empty place where it goes.
        open_source: Opens an endpoint at the root of ``source``; another process unpickles and calls it.
        open_target: The same for ``target``.
        folder: An empty folder of this machine for ledgers.
        wipe: Empties ``target``.
        rounds: At how many points things go wrong.
        lanes: Parallel streams.
        names: Names of small files that both places can hold.
        links: Proxies that the two places are reached through.
        restart: Kills the server of either place and starts it again.
        mount: Where the target's file system is mounted, a tmpfs that may be resized.
        quota: Lets the target hold only so many bytes more, by a quota, as long as a block lasts.
        open_scrambled: Opens the target by its agent over a way on which answers come twice and out of order.
    """

    source: Place
    target: Place
    open_source: Callable[[], Endpoint]
    open_target: Callable[[], Endpoint]
    folder: Path
    wipe: Callable[[], None]
    rounds: int = 1
    lanes: int = 2
    names: tuple[str, ...] = HOSTILE_NAMES
    links: tuple[Proxy, ...] = ()
    restart: Callable[[], None] | None = None
    mount: Path | None = None
    quota: Callable[[int], AbstractContextManager[None]] | None = None
    open_scrambled: Callable[[random.Random], tuple[Endpoint, Scrambled]] | None = None

    def fill(self) -> dict[str, bytes]:
        """Makes the files: large ones of several parts, a hole, small ones with odd names, an empty one, a link."""
        size = self.part
        files = {
            "big": some_bytes(2 * size + size // 2 + 4321),
            "deep/er/two parts": some_bytes(size + 1, 2),
            "empty": b"",
            **{f"x/{name}": name.encode() for name in self.names},
        }
        for path, data in files.items():
            self.source.put(path, data)
        if isinstance(self.source, FolderPlace):
            with (self.source.root / "hole").open("wb") as file:
                file.truncate(2**20)
            (self.source.root / "link").symlink_to("x")
            (self.source.root / "file link").symlink_to("empty")
            files |= {"hole": bytes(2**20), "file link": b""}
            files |= {f"link/{name}": name.encode() for name in self.names}
        return files

    @property
    def part(self) -> int:
        """Size of the parts of large files."""
        with self.open_source() as source, self.open_target() as target:
            return part_size(0, stricter(source.limits, target.limits))

    def copy(self, progress: Progress | None = None, *, ledger: str = "ledger") -> Summary:
        """One copy in this process."""
        return _copy(self, progress or Progress(), self.folder / f"{ledger}.sqlite")

    def forget(self) -> None:
        """Empties the target, and what is known of it."""
        self.wipe()
        for path in self.folder.glob("*.sqlite*"):
            path.unlink()

    def visible(self) -> dict[str, bytes | None]:
        """What readers see at the target."""
        return {path: self.target.get(path) for path in self.target.names() if not _hidden(path)}

    def unfinished(self) -> set[str]:
        """What is at the target that no reader sees: partial files and uploads, as ``target`` names them."""
        return {path for path in self.target.names() if _hidden(path) and not path.endswith(".jsonl")}


def _hidden(path: str) -> bool:
    return path.startswith(_UPLOAD) or is_ours(path)


@dataclass(kw_only=True)
class At(Progress):
    """Does something once, when so many bytes were handed on."""

    sent: int
    act: Callable[[], None]
    passed: int = field(default=0, init=False)
    done: bool = field(default=False, init=False)

    def advance(self, size: int) -> None:
        """Counts; calls come one at a time."""
        self.passed += size
        if self.passed >= self.sent and not self.done:
            self.done = True
            self.act()


class StoppedError(Exception):
    """A copy was ended by its test."""


def stop_at(sent: int) -> At:
    """Ends a copy by :class:`StoppedError` when so many bytes were handed on."""

    def stop() -> None:
        raise StoppedError

    return At(sent=sent, act=stop)


class Victim:
    """A copy in a process of its own.

    Args:
        pair: From where to where.
        dies_at: Bytes after which it ends itself with SIGKILL; ``None`` for never.
        ledger: Name of its ledger.
    """

    def __init__(self, pair: Pair, *, dies_at: int | None = None, ledger: str = "ledger") -> None:
        # A server that forks has read all modules, so that a copy takes no second to begin; it has no threads.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOAD))
        # Neither needs a lock, which a process that is killed would keep.
        self._sent: Any = context.RawValue("q", 0)
        self._told, theirs = context.Pipe(duplex=False)
        words = (pair.open_source, pair.open_target, pair.lanes, pair.folder / f"{ledger}.sqlite")
        self._process = context.Process(target=_carry, args=(*words, dies_at, self._sent, theirs, dict(os.environ)))
        self._process.start()
        theirs.close()

    @property
    def sent(self) -> int:
        """Bytes that it handed on."""
        return int(self._sent.value)

    def ends(self) -> str | None:
        """Waits for it: what was wrong, empty for nothing, ``None`` for one that was killed.

        Raises:
            TimeoutError: It does not end.
            RuntimeError: It failed in another way than it may; with its words.
        """
        if not self._told.poll(_PATIENCE_SECONDS):
            self._process.kill()
            raise TimeoutError(f"a copy did not end within {_PATIENCE_SECONDS} seconds")
        said: tuple[str, str] | None = None
        with contextlib.suppress(EOFError):
            said = self._told.recv()
        self._process.join(_PATIENCE_SECONDS)
        self._told.close()
        if said is None:
            if self._process.exitcode != -signal.SIGKILL:
                raise RuntimeError(f"a copy ended with {self._process.exitcode}")
            return None
        if said[0] == "failed":
            raise RuntimeError(said[1])
        return said[1]

    def killed_after(self, seconds: float) -> str | None:
        """Kills it when that time has passed; as :meth:`ends`."""
        self._process.join(seconds)
        self._process.kill()
        return self.ends()


def _copy(ends: Pair, progress: Progress, path: Path) -> Summary:
    with ends.open_source() as source, ends.open_target() as target, Ledger(path) as ledger:
        return copy(
            source, target, clearance=clear("open", outgoing=True), ledger=ledger, progress=progress, lanes=ends.lanes
        )


def _carry(  # noqa: PLR0917 - called by multiprocessing
    open_source: Callable[[], Endpoint],
    open_target: Callable[[], Endpoint],
    lanes: int,
    path: Path,
    dies_at: int | None,
    sent: Any,
    told: Any,
    env: dict[str, str],
) -> None:
    """The process of a :class:`Victim`."""
    os.environ.update(env)

    class Count(Progress):
        def advance(self, size: int) -> None:
            sent.value += size
            if dies_at is not None and sent.value >= dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(_PATIENCE_SECONDS)  # it ends before this does

    try:
        with open_source() as source, open_target() as target, Ledger(path) as ledger:
            copy(source, target, clearance=clear("open", outgoing=True), ledger=ledger, progress=Count(), lanes=lanes)
    except AifaError as error:
        told.send(("ended", str(error)))
    except BaseException as error:  # noqa: BLE001 - told to who waits
        told.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        told.send(("ended", ""))
