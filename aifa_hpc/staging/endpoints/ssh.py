"""Files of a machine behind a transport, by the remote agent: several conversations side by side over one login."""

from __future__ import annotations

import posixpath
import zlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any, ClassVar

from aifa_hpc.errors import InputError
from aifa_hpc.manifest import MANIFEST, safe_path
from aifa_hpc.staging.endpoints.base import GLANCE_BYTES, Endpoint
from aifa_hpc.staging.endpoints.conversations import Conversations
from aifa_hpc.staging.endpoints.local import folders_of, found_of, most_of, partials_of
from aifa_hpc.staging.endpoints.ssh_lane import BUNDLE_BYTES, SSHLane, words_of
from aifa_hpc.staging.model import Folder, Found, Loan, Part, Partial, PartSum, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from aifa_hpc.staging.endpoints.base import Lane
    from aifa_hpc.staging.model import Kind
    from aifa_hpc.staging.remote import Foreseen, Remote
    from aifa_hpc.staging.together import Small
    from aifa_hpc.transport.base import Transport

_WINDOW = 2 * 2**20
"""Bytes an SSH channel may have under way (``CHAN_SES_WINDOW_DEFAULT`` of OpenSSH's channels.h)."""

_GOOD_RATE = 400 * 2**20
"""Bytes a second that a transfer between two processors can encrypt and hash."""

_SUMS_BATCH = 256
"""Files whose hashes are asked for in one call."""


class SSHEndpoint(Endpoint):
    """A folder or file of a machine that a transport reaches; nothing is installed there.

    Args:
        transport: The way there; it stays the caller's and is not closed. Or the conversations of another endpoint.
        root: Absolute path; a final ``/`` says that it is meant as a folder.
        channels: Conversations for data at most; each moves at most one SSH window (2 MiB) in a round trip.
        python: Python 3.6 or newer over there.
        label: What the machine is called, in messages and in the ledger: a site's name.

    Raises:
        InputError: The path is not absolute.
    """

    lends: ClassVar[bool] = True
    lane_worth: ClassVar[int] = _WINDOW
    at_once: ClassVar[int] = BUNDLE_BYTES

    def __init__(
        self,
        transport: Transport | Conversations,
        root: str,
        *,
        channels: int = 8,
        python: str = "python3",
        label: str = "remote",
    ) -> None:
        if not root.startswith("/") or "\0" in root:
            raise InputError(f"{root!r} at {label}: a path on another machine is absolute.")
        if channels < 1:
            raise InputError(f"channels = {channels}: at least one is needed to carry anything.")
        self._folder = root.endswith("/")
        self._root = posixpath.normpath("/" + root.lstrip("/"))
        self._label = label
        self.lanes = channels
        self.identity = f"ssh://{label}{self._root}"
        if not isinstance(transport, Conversations):
            transport = Conversations(transport, python=python, place=label)
        self._pool = transport

    def __str__(self) -> str:
        return f"{self._label}:{self._root}"

    @property
    def first(self) -> int:  # type: ignore[override] # known once the machine was asked something
        """As many windows as fill a good link of that length."""
        return max(2, min(self.lanes, round(min(1.0, self._pool.round_trip) * _GOOD_RATE / _WINDOW)))

    @property
    def says_folder(self) -> bool:
        """Written with a final ``/``."""
        return self._folder

    def start(self, *, patience: float) -> None:
        """Starts the agent that answers questions, waiting for its login at most so many seconds.

        Raises:
            NoAgentError: There is no usable Python, or nobody may run anything.
            TransportError: The machine cannot be reached.
        """
        self._pool.start(self._root, patience)

    def kind(self) -> Kind:
        """What is there."""
        with self._remote() as remote:
            kind: Kind = remote.call("root", root=self._root, path=self._root)["kind"]
            return kind

    def split(self) -> tuple[SSHEndpoint, str]:
        """The folder above, and the name in it."""
        folder, name = posixpath.split(self._root)
        if not name:
            raise InputError(f"{self} cannot be the name of a file.")
        return SSHEndpoint(self._pool, folder, channels=self.lanes, label=self._label), name

    def scan(self) -> Iterator[Found]:
        """All files below."""
        with self._remote() as remote:
            yield from map(found_of, remote.rows("scan", path="", doing="list"))

    def folders(self, known: Mapping[str, str]) -> Iterator[Folder]:
        """All files below, by folder."""
        with self._remote() as remote:
            yield from folders_of(remote.rows("folders", path="", doing="list", known=dict(known)))

    def states(self, folders: Sequence[tuple[str, int]]) -> list[str]:
        """The states of folders."""
        wanted = [(path, most_of(count)) for path, count in folders]
        with self._remote() as remote:
            return list(remote.rows("states", path="", doing="list", folders=wanted))

    def stat(self, paths: Sequence[str]) -> list[Found | None]:
        """What is at each path."""
        with self._remote() as remote:
            rows = remote.call("stat", paths=list(paths))["rows"]
        return [found_of(row) if row is not None else None for row in rows]

    def glance(self, paths: Sequence[str]) -> list[tuple[Found | None, bytes | None]]:
        """One question for all."""
        with self._remote() as remote:
            rows = remote.call("glance", **_glance(paths))["rows"]
        return [
            (found_of(row) if row is not None else None, None if data is None else zlib.decompress(b64decode(data)))
            for row, data in rows
        ]

    def foresee(
        self, *, glance: Sequence[str] = (), stat: Sequence[str] = (), partials: Sequence[str] = (), kind: bool = False
    ) -> None:
        """Asked behind one another, so that all of them cost one way there and back, and that passes meanwhile."""
        calls: list[Foreseen] = [("root", {"root": self._root})] if kind else []
        calls += [("glance", _glance(glance))] if glance else []
        calls += [("stat", {"paths": [MANIFEST]}), ("stat", {"paths": list(stat)})] if stat else []
        calls += [("find", _find(partials))] if partials else []
        self._pool.foresee(self._root, calls)

    def read_found(self, found: Found) -> bytes:
        """Answered as a question: no conversation for data has to begin."""
        with self._remote() as remote:
            return remote.content(found.path, found.size)

    def sums(self, wanted: Iterable[tuple[str, Sequence[Part]]], *, md5: bool = False) -> Iterator[list[PartSum]]:
        """Hashes parts where they are."""
        batch: list[tuple[str, Sequence[Part]]] = []
        for item in wanted:
            batch.append(item)
            if len(batch) == _SUMS_BATCH:
                yield from self._sums(batch, md5=md5)
                batch = []
        if batch:
            yield from self._sums(batch, md5=md5)

    def partials(self, folders: Sequence[str]) -> list[Partial]:
        """Partial files in these folders."""
        with self._remote() as remote:
            rows = remote.call("find", doing="list", **_find(folders))["rows"]
        return partials_of(rows)

    def strays(self) -> Iterator[Partial]:
        """All partial files below."""
        with self._remote() as remote:
            yield from partials_of(remote.rows("scan", path="", doing="list partial files in", parts=True))

    def begin(self, path: str, size: int, token: str) -> Partial:
        """A new partial file."""
        del size  # it grows
        with self._remote() as remote:
            remote.call("begin", path, "create", partial=partial_path(safe_path(path), token))
        return Partial(path=path, token=token)

    def adopt(self, partial: Partial, token: str) -> Partial:
        """Takes a partial file over."""
        old, new = partial_path(partial.path, partial.token), partial_path(partial.path, token)
        with self._remote() as remote:
            remote.call("rename", partial.path, "take over the partial file of", old=old, new=new)
        return Partial(path=partial.path, token=token, size=partial.size)

    def discard(self, partials: Sequence[Partial]) -> None:
        """Removes partial files."""
        if partials:
            with self._remote() as remote:
                paths = [partial_path(partial.path, partial.token) for partial in partials]
                remote.call("remove", partials[0].path, "remove partial files of", paths=paths)

    def borrow(self, partial: Partial, loans: Sequence[Loan]) -> list[bool]:
        """Copies parts from files that are there."""
        if not loans:
            return []
        items = [
            (loan.part.offset, loan.path, loan.offset, loan.part.length, [block.hex() for block in loan.sum.blocks])
            for loan in loans
        ]
        name = partial_path(partial.path, partial.token)
        with self._remote() as remote:
            return list(remote.rows("borrow", path=partial.path, doing="write", partial=name, items=items))

    def store_at_once(self, files: Sequence[Small], steps: Sequence[int]) -> list[Found | None]:
        """By the conversation for questions: none for data has to begin."""
        rows = self._bundle([_file(one) for one in files], [one.data for one in files], steps)
        return [None if isinstance(row, dict) else found_of(row) for row in rows]

    def replace(self, file: Small, pin: str) -> Found | None:
        """The agent compares the pin just before it publishes."""
        if len(file.data) > self.at_once:
            return None
        [row] = self._bundle([{**_file(file), "instead": pin}], [file.data], [1])
        return None if isinstance(row, dict) else found_of(row)

    def _bundle(self, files: list[dict[str, Any]], data: list[bytes], steps: Sequence[int]) -> list[Any]:
        with self._remote() as remote:
            call = remote.ask("bundle", files=files, steps=list(steps))
            remote.pour(call, [memoryview(b"".join(data))])
            rows: list[Any] = remote.answer(call, path=files[0]["path"], doing="write")["rows"]
            return rows

    def remove(self, paths: Sequence[str]) -> None:
        """Removes files."""
        if paths:
            with self._remote() as remote:
                remote.call("remove", doing="remove", paths=[safe_path(path) for path in paths])

    def settle(self, folders: Sequence[str]) -> None:
        """Syncs these folders."""
        with self._remote() as remote:
            remote.call("sync", doing="sync", folders=list(folders))

    def expect(self, lanes: int) -> None:
        """Their conversations begin while it is still looked at what is to be copied."""
        self._pool.expect(self._root, min(lanes, self.first))

    def lane(self) -> Lane:
        """A way for one thread."""
        return SSHLane(self._pool.take(self._root), self._pool.give)

    @property
    def saved(self) -> int:
        """Bytes of files that did not have to pass, as they were packed; of lanes that were closed."""
        return self._pool.saved

    def close(self) -> None:
        """Ends the conversations."""
        self._pool.close()

    def _remote(self) -> AbstractContextManager[Remote]:
        return self._pool.control(self._root)

    def _sums(self, batch: Sequence[tuple[str, Sequence[Part]]], *, md5: bool) -> Iterator[list[PartSum]]:
        items = [(path, [(part.offset, part.length) for part in parts]) for path, parts in batch]
        with self._remote() as remote:
            rows = remote.rows("sums", path="", doing="read", items=items, md5=md5)
            for _, parts in batch:
                found = [next(rows)[1] for _ in parts]
                yield [
                    PartSum(blocks=tuple(map(bytes.fromhex, blocks)), md5=bytes.fromhex(digest))
                    for blocks, digest in found
                ]
            for _ in rows:  # to the end of the answer
                raise AssertionError("more digests than were asked for")


def _glance(paths: Sequence[str]) -> dict[str, Any]:
    return {"paths": list(paths), "most": GLANCE_BYTES}


def _find(folders: Sequence[str]) -> dict[str, Any]:
    return {"items": [[folder, "."] for folder in folders]}


def _file(small: Small) -> dict[str, Any]:
    return {**words_of(small.target, small.target.token), "blocks": [block.hex() for block in small.sum.blocks]}
