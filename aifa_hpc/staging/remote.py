"""One conversation with the remote agent, over one channel: calls out, answers in, data both ways."""

from __future__ import annotations

import functools
import json
import math
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from aifa_hpc.command import Command
from aifa_hpc.errors import NotSentError, OutcomeUnknownError, ParseError, TransferError
from aifa_hpc.staging.failures import refused, unable
from aifa_hpc.staging.packing import BadPackError, Packing, unpack
from aifa_hpc.staging.wire import PREFIX, Kind, Prefix, after_magic, decode_header, decode_prefix, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.transport.base import Channel, Transport

_MODULES = ("files", "packing", "bundles", "agent")

_BOOT = (
    "import sys,json,types;f=open(0,'rb',0,closefd=False)\n"
    "def r(n):\n"
    " b=b''\n"
    " while len(b)<n:\n"
    "  c=f.read(n-len(b))\n"
    "  if not c:sys.exit(9)\n"
    "  b+=c\n"
    " return b\n"
    "for n in('aifa_hpc','aifa_hpc.staging'):sys.modules[n]=types.ModuleType(n)\n"
    "for n,s in json.loads(r(int(r(8))).decode('ascii')):\n"
    " m=sys.modules[n]=types.ModuleType(n)\n"
    " exec(compile(s,n,'exec'),m.__dict__)\n"
    "m.main()"
)
"""Reads the agent's modules from standard input and runs the last one.

It travels in one line, as a string of Python within a string: login shells of the csh family take no newline in quotes.
"""

_SMALL = 256 * 1024
_TOGETHER = 1024 * 1024
"""Frames of small files are held back until so many bytes are together or an answer is awaited: fewer writes."""

PATIENCE_SECONDS = 60.0
"""How long a login may take to run anything: file systems of a busy site hang for a while."""

_NO_PYTHON = "the far side needs python3 (3.6 or newer) on the PATH of a non-interactive login"


Foreseen: TypeAlias = "tuple[str, dict[str, Any]]"
"""A call: what it does, and its words."""

_LOOKS = frozenset({"root", "glance", "stat", "find", "states", "read", "gather", "scan", "folders", "sums"})
"""Calls that change nothing."""


def _key(op: str, words: dict[str, Any]) -> str:
    return json.dumps((op, words), sort_keys=True)


@functools.cache
def _source() -> bytes:
    package = resources.files("aifa_hpc.staging")
    modules = [(f"aifa_hpc.staging.{name}", (package / f"{name}.py").read_text("utf-8")) for name in _MODULES]
    body = json.dumps(modules).encode("ascii")
    return b"%08d" % len(body) + body


class NoAgentError(TransferError):
    """The agent did not start: the far side has no usable Python, or lets nobody run anything."""


def agent_command(python: str, *, patience: float = PATIENCE_SECONDS) -> Command:
    """Starts the agent: tiny words, the source on standard input, nothing from the user's Python environment."""
    return Command(argv=(python, "-I", "-S", "-c", f"exec({_BOOT!r})"), stdin=_source(), timeout=patience)


class Remote:
    """A running agent. Used by one thread at a time.

    Args:
        transport: The way to the machine.
        root: The folder all paths are relative to.
        python: The program there.
        place: What messages call it.
        patience: Seconds until a login that shows no sign of running anything is given up.
        foreseen: Calls that will be made soon, see :meth:`foresee`; they go out before the agent is there to hear them.

    Raises:
        TransportError: The machine cannot be reached.
        NoAgentError: It has no usable Python.
    """

    def __init__(
        self,
        transport: Transport,
        root: str,
        *,
        python: str,
        place: str,
        patience: float = PATIENCE_SECONDS,
        foreseen: Sequence[Foreseen] = (),
    ) -> None:
        self._place = place
        self._python = python
        self._calls = 0
        self._waiting: set[int] = set()
        self._answers: dict[int, tuple[Kind, dict[str, Any]]] = {}
        self._foreseen: dict[str, int] = {}
        self._forgotten: set[int] = set()
        try:
            self._channel: Channel = transport.open(agent_command(python, patience=patience))
        except NotSentError:
            raise
        except OutcomeUnknownError as error:
            raise NoAgentError(
                f"the agent did not start at {place}: {error.message}.", hint=f"{_NO_PYTHON}."
            ) from error
        self._pushed_back = b""
        self._held = bytearray()
        self._packing = Packing()
        self.unpacked = 0
        self.round_trip = math.inf
        self.root = root
        try:
            self._begin(foreseen)
        except BaseException:
            self._channel.close()
            raise

    @property
    def in_order(self) -> bool:
        """Nothing is under way: all calls that somebody waits for were answered, and nothing broke."""
        return not (self._waiting - self._forgotten - set(self._foreseen.values()))

    def enter(self, root: str) -> None:
        """From now on paths are relative to that folder."""
        self.forget()
        self.call("root", path=root, root=root)
        self.root = root

    @property
    def saved(self) -> int:
        """Bytes of files that did not have to pass, as they were packed."""
        return self._packing.saved + self.unpacked

    def foresee(self, calls: Sequence[Foreseen]) -> None:
        """Asks already what will be asked soon; the answer is taken once, by just that :meth:`call`.

        They only look, and what is asked after something was changed is asked anew.
        """
        for op, words in calls:
            self._foreseen[_key(op, words)] = self.ask(op, **words)
        self._send_all(b"")

    def forget(self) -> None:
        """What was foreseen may no longer be so."""
        for call in self._foreseen.values():
            if self._answers.pop(call, None) is None:
                self._forgotten.add(call)
        self._foreseen.clear()

    def ask(self, op: str, **words: Any) -> int:
        """Sends a call and returns its number."""
        if op not in _LOOKS:
            self.forget()
        self._calls += 1
        self._waiting.add(self._calls)
        self._send(Kind.CALL, self._calls, {"op": op, **words})
        return self._calls

    def call(self, op: str, path: str = "", doing: str = "look at", **words: Any) -> dict[str, Any]:
        """Sends a call and waits for its answer; ``path`` and ``doing`` are for messages.

        Raises:
            TransferError: The agent refused.
            OutcomeUnknownError: The connection ended.
        """
        begun = time.monotonic()
        call = self._foreseen.pop(_key(op, words), 0) if self._foreseen else 0
        answer = self.answer(call or self.ask(op, **words), path=path, doing=doing)
        self.round_trip = min(self.round_trip, time.monotonic() - begun)
        return answer

    def answer(self, call: int, *, path: str, doing: str) -> dict[str, Any]:
        """Waits for the answer to a call; answers to others are kept for them."""
        while call not in self._answers:
            prefix, header = self._frame()
            if prefix.body:
                raise self._nonsense(f"data nobody asked for, for call {prefix.call}")
            self._answers[prefix.call] = (prefix.kind, header)
        kind, header = self._answers.pop(call)
        if kind is Kind.FAIL:
            raise self.refusal(header, path=path, doing=doing)
        return header

    def data(self, call: int, buffer: memoryview, *, path: str, doing: str) -> Iterator[memoryview | dict[str, Any]]:
        """The bodies that answer a call, as views of ``buffer``, and last the header that ends them."""
        while True:
            prefix, header = self._frame()
            if prefix.call != call:
                if prefix.body:
                    raise self._nonsense(f"data of call {prefix.call} within call {call}")
                self._answers[prefix.call] = (prefix.kind, header)
                continue
            if prefix.kind is Kind.FAIL:
                raise self.refusal(header, path=path, doing=doing)
            if prefix.kind is Kind.END:
                yield header
                return
            if prefix.body > len(buffer):
                raise self._nonsense(f"a frame of {prefix.body} bytes")
            body = self._exactly(buffer[: prefix.body])
            yield body if prefix.kind is Kind.DATA else self._unpacked(body, len(buffer))

    def content(self, path: str, size: int) -> bytes:
        """All of a small file."""
        call, buffer = self.ask("read", path=path, offset=0, length=size), memoryview(bytearray(_TOGETHER))
        pieces = self.data(call, buffer, path=path, doing="read")
        return b"".join(bytes(piece) for piece in pieces if isinstance(piece, memoryview))

    def gathered(self, call: int, most: int, *, path: str) -> tuple[list[Any], memoryview]:
        """What the agent says of each of several small files, and their bytes, one after the other."""
        files: list[Any] = []
        buffer, body = memoryview(bytearray(most)), memoryview(b"")
        while True:
            prefix, header = self._frame()
            if prefix.call != call:
                self._answers[prefix.call] = (prefix.kind, header)
            elif prefix.kind is Kind.FAIL:
                raise self.refusal(header, path=path, doing="read")
            elif prefix.kind is Kind.END:
                return files, body
            elif prefix.body > most:
                raise self._nonsense(f"a frame of {prefix.body} bytes")
            else:
                body, files = self._exactly(buffer[: prefix.body]), header["files"]
                if prefix.kind is Kind.PACKED:
                    body = self._unpacked(body, most)

    def rows(self, op: str, *, path: str, doing: str, **words: Any) -> Iterator[Any]:
        """The rows that a call streams."""
        call = self.ask(op, **words)
        while True:
            prefix, header = self._frame()
            if prefix.call != call:
                self._answers[prefix.call] = (prefix.kind, header)
            elif prefix.kind is Kind.FAIL:
                raise self.refusal(header, path=path, doing=doing)
            elif prefix.kind is Kind.END:
                return
            else:
                body = self._exactly(memoryview(bytearray(prefix.body)))
                yield from json.loads(bytes(body).decode("ascii"))

    def pour(self, call: int, views: Iterable[memoryview]) -> None:
        """Sends the data of a call; takes the call back when ``views`` raises."""
        try:
            for view in views:
                if len(view) <= _SMALL:
                    self._held += encode(Kind.DATA, call, body=len(view))
                    self._held += view
                    continue
                packed = self._packing.pack(view)
                body = view if packed is None else packed
                self._send_all(encode(Kind.DATA if packed is None else Kind.PACKED, call, body=len(body)))
                self._packing.send(self._channel.send, body)
        except OutcomeUnknownError:
            raise
        except BaseException:
            self._send(Kind.ABORT, call, {})
            raise

    def end(self, call: int, blocks: tuple[bytes, ...]) -> None:
        """Ends the data of a call with the digests of what was sent."""
        self._send(Kind.END, call, {"blocks": [block.hex() for block in blocks]})

    def finish(self) -> None:
        """Tells the agent that nothing more is asked: it begins to end by itself."""
        self._channel.finish_input()

    def close(self) -> None:
        """Ends the agent."""
        self._channel.close()

    def _send(self, kind: Kind, call: int, header: dict[str, Any]) -> None:
        self._held += encode(kind, call, header)
        if len(self._held) > _TOGETHER:
            self._send_all(b"")

    def _send_all(self, data: bytes) -> None:
        self._held += data
        if self._held:
            held, self._held = self._held, bytearray()
            self._channel.send(held)

    def _begin(self, foreseen: Sequence[Foreseen]) -> None:
        """Says where paths begin before the agent is there to hear it: that saves a round trip."""
        heard = bytearray()
        buffer = memoryview(bytearray(64 * 1024))
        try:
            call = self.ask("root", root=self.root)
            self.foresee(foreseen)
            while (begin := after_magic(heard)) < 0:
                count = self._channel.receive_into(buffer)
                if not count:
                    raise self._silent(bytes(heard))
                heard += buffer[:count]
        except (OutcomeUnknownError, ParseError) as error:
            raise self._silent(bytes(heard)) from error
        self._pushed_back = bytes(heard[begin:])
        _, self.hello = self._frame()
        self.answer(call, path=self.root, doing="look at")

    def _unpacked(self, body: memoryview, most: int) -> memoryview:
        try:
            plain = unpack(body, most)
        except BadPackError as error:
            raise self._nonsense(f"what cannot be unpacked ({error})") from error
        self.unpacked += len(plain) - len(body)
        return memoryview(plain)

    def _silent(self, heard: bytes) -> NoAgentError:
        said = self._channel.stderr_tail() or heard[-300:].decode("utf-8", "backslashreplace").strip()
        return NoAgentError(
            f"the agent did not start at {self._place} with {self._python!r}" + (f": {said}." if said else "."),
            hint=f"It needs a way in, and {_NO_PYTHON}; name another one in the site's settings.",
        )

    def _frame(self) -> tuple[Prefix, dict[str, Any]]:
        self._send_all(b"")  # who waits for an answer must have asked
        try:
            prefix = decode_prefix(self._exactly(memoryview(bytearray(PREFIX.size))))
            header = decode_header(self._exactly(memoryview(bytearray(prefix.header))))
        except ParseError as error:
            raise self._nonsense(error.message) from error
        if prefix.kind not in (Kind.DATA, Kind.PACKED):
            self._waiting.discard(prefix.call)
        return prefix, header

    def _exactly(self, view: memoryview) -> memoryview:
        done = 0
        if self._pushed_back:
            done = min(len(view), len(self._pushed_back))
            view[:done] = self._pushed_back[:done]
            self._pushed_back = self._pushed_back[done:]
        while done < len(view):
            count = self._channel.receive_into(view[done:])
            if not count:
                said = self._channel.stderr_tail()
                raise OutcomeUnknownError(f"the agent at {self._place} is gone" + (f": {said}" if said else ""))
            done += count
        return view

    def refusal(self, header: dict[str, Any], *, path: str, doing: str) -> TransferError:
        """What the agent could not do, as an error."""
        kind, what, seen = header.get("kind"), str(header.get("what")), str(header.get("path") or "")
        name = path or seen
        if kind == "os":
            return refused(OSError(int(header["errno"]), what), path=name, place=self._place, doing=doing)
        return unable(kind=str(kind), what=what, path=name, place=self._place, doing=doing)

    def _nonsense(self, what: str) -> TransferError:
        return TransferError(f"the agent at {self._place} sent {what}: the connection is not in order.")
