"""The far end of a copy: Python 3.6, sent over the channel, that answers framed calls about files.

It is run by ``python3 -c`` with a few words that read this source, and what it imports before it, from standard input
(see ``staging.remote``), so nothing is installed and nothing is left behind; it ends when its input does. The local
endpoint uses the same ``staging.files``: both sides of a copy treat file systems by one code.

Frames, in both directions: kind, number of the call, length of a JSON header, length of a body; then the two. One call
is served after the other; only "it is on the disk now" is answered late, by the threads that wait for ``fsync``.

::

    CALL {"op": "stat", "paths": [...]}        ->  REPLY {"rows": [...]}             or FAIL {"errno": ..., ...}
    CALL {"op": "glance", "paths": [...]}      ->  REPLY {"rows": [...]}             (row, and content if it is small)
    CALL {"op": "read", ...}                   ->  DATA* END {"blocks": [...], "pin": ...}
    CALL {"op": "scan"}                        ->  DATA* END {}                      (bodies are JSON lists of rows)
    CALL {"op": "folders", "known": {...}}     ->  DATA* END {}                      (path, state, known?; else rows)
    CALL {"op": "write", ...} DATA* END {...}  ->  REPLY {}     once durable; ABORT instead of END takes it back
    CALL {"op": "gather", "files": [...]}      ->  DATA {"files": [...]} END {}      (small files, one after the other)
    CALL {"op": "bundle", "files": [...]} DATA ->  REPLY {"rows": [...]}  once published: rows or failures; "steps" of
                                                   these, if given, come one after the other

DATA of files, either way, may be PACKED instead: see ``staging.packing``.

A partial file is never created by a write, only by ``begin``: who was fenced off by a rename finds nothing to write to.
"""

import base64
import itertools
import json
import os
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple  # noqa: F401 - type comments

from aifa_hpc.staging.bundles import DAMAGED, failure, publish, publish_all, put_aside, sums_of
from aifa_hpc.staging.files import CHUNK, Files, Refused, Sums, datasync, raw, write_all
from aifa_hpc.staging.packing import BadPackError, Packing, unpack

MAGIC = b"\0aifa-agent 1\n"
FRAME = struct.Struct(">BIII")
CALL, DATA, END, ABORT, REPLY, FAIL, PACKED = 1, 2, 3, 4, 5, 6, 7
ROWS = 1000
SYNCERS = 4


class Agent:
    """Serves calls until the input ends."""

    def __init__(self, source: Any, sink: Any) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()
        self._files = Files(b"/")
        self._syncers = ThreadPoolExecutor(SYNCERS)
        self._unsynced = {}  # type: Dict[str, List[Tuple[int, int]]]
        self._syncing = set()  # type: Set[str]
        self._buffer = memoryview(bytearray(CHUNK))
        self._packing = Packing()

    def serve(self) -> None:
        """Says hello and answers until the other side has nothing more to say."""
        self._sink.write(MAGIC)
        self._send(REPLY, 0, {"python": "%d.%d" % sys.version_info[:2], "host": os.uname()[1], "pid": os.getpid()})
        while True:
            frame = self._receive()
            if frame is None:
                break
            kind, call, header, length = frame
            if kind != CALL:
                # Data of a call that failed already.
                self._body(length)
                continue
            try:
                getattr(self, "_do_" + header["op"])(call, header)
            except (OSError, Refused) as error:
                self._fail(call, error)
        self._syncers.shutdown()

    def _do_root(self, call: int, header: Dict[str, Any]) -> None:
        self._files = Files(raw(header["root"]))
        self._send(REPLY, call, {"kind": self._files.kind()})

    def _do_scan(self, call: int, header: Dict[str, Any]) -> None:
        self._stream(call, self._files.scan(header.get("parts", False)))

    def _do_folders(self, call: int, header: Dict[str, Any]) -> None:
        self._stream(call, self._files.folders(header["known"]))

    def _do_states(self, call: int, header: Dict[str, Any]) -> None:
        self._stream(call, self._files.states((raw(path), most) for path, most in header["folders"]))

    def _do_stat(self, call: int, header: Dict[str, Any]) -> None:
        self._send(REPLY, call, {"rows": list(self._files.stat(raw(path) for path in header["paths"]))})

    def _do_glance(self, call: int, header: Dict[str, Any]) -> None:
        """What is at each path, and what small files hold: packed, in the answer itself."""
        rows = []  # type: List[Any]
        for found in self._files.stat(raw(path) for path in header["paths"]):
            data = None
            if found is not None and 0 <= found[1] <= header["most"]:
                view = memoryview(bytearray(found[1]))
                if self._files.fill(raw(found[0]), view) == (found[1], found[3]):
                    data = base64.b64encode(zlib.compress(view, 1)).decode("ascii")
            rows.append([found, data])
        self._send(REPLY, call, {"rows": rows})

    def _do_find(self, call: int, header: Dict[str, Any]) -> None:
        wanted = [(raw(folder), raw(prefix)) for folder, prefix in header["items"]]
        self._send(REPLY, call, {"rows": [found for item in wanted for found in self._files.find(*item)]})

    def _do_sums(self, call: int, header: Dict[str, Any]) -> None:
        self._stream(
            call,
            (
                [found, list(sums)]
                for found, (path, spans) in enumerate(header["items"])
                for sums in self._files.sums(raw(path), spans, header["md5"])
            ),
            1,
        )

    def _do_begin(self, call: int, header: Dict[str, Any]) -> None:
        self._files.begin(raw(header["partial"]))
        self._send(REPLY, call, {})

    def _do_borrow(self, call: int, header: Dict[str, Any]) -> None:
        partial = raw(header["partial"])
        self._stream(
            call,
            (
                self._files.borrow(partial, offset, raw(path), at, length, blocks)
                for offset, path, at, length, blocks in header["items"]
            ),
            1,
        )

    def _do_rename(self, call: int, header: Dict[str, Any]) -> None:
        self._files.rename(raw(header["old"]), raw(header["new"]))
        self._send(REPLY, call, {})

    def _do_remove(self, call: int, header: Dict[str, Any]) -> None:
        self._files.remove(raw(path) for path in header["paths"])
        self._send(REPLY, call, {})

    def _do_sync(self, call: int, header: Dict[str, Any]) -> None:
        self._files.sync(raw(path) for path in header["folders"])
        self._send(REPLY, call, {})

    def _do_publish(self, call: int, header: Dict[str, Any]) -> None:
        fd = self._files.open_partial(raw(header["partial"]))
        self._later(call, publish, self._files, fd, header)

    def _do_read(self, call: int, header: Dict[str, Any]) -> None:
        sums = Sums()
        reading = self._files.read(raw(header["path"]), header["offset"], header["length"])
        for view in reading:
            self._data(call, view)
            sums.update(view)
        self._send(END, call, {"blocks": sums.finish()[0], "pin": reading.pin})

    def _do_write(self, call: int, header: Dict[str, Any]) -> None:
        fd = self._files.open_partial(raw(header["partial"]))
        try:
            self._take(call, fd, header["offset"])
        except BaseException:
            os.close(fd)
            raise
        self._durable(call, fd, header["partial"])

    def _do_store(self, call: int, header: Dict[str, Any]) -> None:
        partial = raw(header["partial"])
        fd = self._files.create(partial)
        try:
            self._take(call, fd, 0)
        except BaseException:
            os.close(fd)
            self._files.drop(partial)
            raise
        self._later(call, publish, self._files, fd, header, True)

    def _do_gather(self, call: int, header: Dict[str, Any]) -> None:
        """Small files in one answer: for each how long it is, its digest and its pin, or why it cannot be read."""
        files, at = [], 0  # type: List[Any], int
        for path, length in header["files"]:
            view = self._buffer[at : at + length]
            try:
                count, pin = self._files.fill(raw(path), view)
            except (OSError, Refused) as error:
                files.append(failure(error))
                continue
            files.append([count, sums_of(view[:count]), pin])
            at += count
        self._data(call, self._buffer[:at], {"files": files})
        self._send(END, call, {})

    def _do_bundle(self, call: int, header: Dict[str, Any]) -> None:
        """Small files in one call: compared with their digests, written aside, and published when they are durable."""
        frame = self._receive()
        if frame is None:
            raise Refused("gone", "the sender is gone")
        kind, number, _, length = frame
        if number != call or kind not in (DATA, PACKED):
            raise Refused("protocol", "a frame of another call arrived in between")
        view = self._plain(kind, self._body(length))
        made, at = [], 0  # type: List[Any], int
        for file in header["files"]:
            made.append((put_aside(self._files, file, view[at : at + file["size"]]), file))
            at += file["size"]
        self._later(call, publish_all, self._files, made, header.get("steps"))

    def _take(self, call: int, fd: int, offset: int) -> None:
        """Writes the frames of a call to a file and compares digests at their end."""
        sums = Sums()
        while True:
            frame = self._receive()
            if frame is None:
                raise Refused("gone", "the sender is gone")
            kind, number, header, length = frame
            if number != call or kind not in (DATA, PACKED, END, ABORT):
                raise Refused("protocol", "a frame of another call arrived in between")
            if kind == ABORT:
                raise Refused("aborted", "taken back by the sender")
            if kind == END:
                if header["blocks"] != sums.finish()[0]:
                    raise Refused("damaged", DAMAGED)
                return
            view = self._plain(kind, self._body(length))
            write_all(fd, view, offset)
            sums.update(view)
            offset += len(view)

    def _plain(self, kind: int, view: memoryview) -> memoryview:
        """A body as it was before it was packed."""
        if kind != PACKED:
            return view
        try:
            return memoryview(unpack(view, CHUNK))
        except BadPackError as error:
            raise Refused("damaged", "arrived in another form than it was sent") from error

    def _durable(self, call: int, fd: int, partial: str) -> None:
        """Answers when the part is on the disk; parts of a file that wait meanwhile share the next sync."""
        with self._lock:
            waiting = self._unsynced.setdefault(partial, [])
            waiting.append((call, fd))
            if len(waiting) > 1 or partial in self._syncing:
                return
            self._syncing.add(partial)
        self._syncers.submit(self._sync, partial)

    def _sync(self, partial: str) -> None:
        while True:
            with self._lock:
                waiting = self._unsynced.pop(partial, [])
                if not waiting:
                    self._syncing.discard(partial)
                    return
            problem = None
            try:
                datasync(waiting[0][1])
            except OSError as error:
                problem = error
            for call, fd in waiting:
                os.close(fd)
                if problem is None:
                    self._send(REPLY, call, {})
                else:
                    self._fail(call, problem)

    def _later(self, call: int, work: Callable[..., Dict[str, Any]], *words: Any) -> None:
        def run() -> None:
            try:
                self._send(REPLY, call, work(*words))
            except (OSError, Refused) as error:
                self._fail(call, error)

        self._syncers.submit(run)

    def _stream(self, call: int, rows: Iterable[Any], most: int = ROWS) -> None:
        every = iter(rows)
        for batch in iter(lambda: list(itertools.islice(every, most)), []):
            self._send(DATA, call, None, memoryview(json.dumps(batch).encode("ascii")))
        self._send(END, call, {})

    def _fail(self, call: int, error: Exception) -> None:
        self._send(FAIL, call, failure(error))

    def _send(self, kind: int, call: int, header: Optional[Dict[str, Any]], body: Any = b"") -> None:
        head = json.dumps(header).encode("ascii") if header is not None else b""
        with self._lock:
            self._write(memoryview(FRAME.pack(kind, call, len(head), len(body)) + head))
            if len(body):
                self._write(memoryview(body))

    def _data(self, call: int, view: memoryview, header: Optional[Dict[str, Any]] = None) -> None:
        data = self._packing.pack(view)
        body = view if data is None else memoryview(data)
        head = json.dumps(header).encode("ascii") if header is not None else b""
        with self._lock:
            self._write(memoryview(FRAME.pack(DATA if data is None else PACKED, call, len(head), len(body)) + head))
            self._packing.send(self._write, body)

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[self._sink.write(view) :]

    def _receive(self) -> Optional[Tuple[int, int, Dict[str, Any], int]]:
        prefix = self._exactly(memoryview(bytearray(FRAME.size)))
        if prefix is None:
            return None
        kind, call, header, body = FRAME.unpack(prefix)
        head = self._exactly(memoryview(bytearray(header)))
        if head is None:
            return None
        return kind, call, json.loads(bytes(head).decode("ascii")) if header else {}, body

    def _body(self, length: int) -> memoryview:
        if length > len(self._buffer):
            raise Refused("protocol", "a frame of %d bytes is too long" % length)
        body = self._exactly(self._buffer[:length])
        if body is None:
            raise Refused("gone", "the sender is gone")
        return body

    def _exactly(self, view: memoryview) -> Optional[memoryview]:
        done = 0
        while done < len(view):
            count = self._source.readinto(view[done:])
            if not count:
                return None
            done += count
        return view


def widen(fd: int) -> None:
    """A pipe of 1 MiB instead of 64 KiB takes a whole frame; where there are no such pipes, nothing happens."""
    try:
        import fcntl  # noqa: PLC0415 - not every system has it

        fcntl.fcntl(fd, 1031, CHUNK)  # F_SETPIPE_SZ, Linux
    except (ImportError, OSError):
        return


def main() -> None:
    """Talks over standard input and output, and lets nothing else write there."""
    sink = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115 - open until the process ends
    os.dup2(2, 1)
    widen(0)
    widen(sink.fileno())
    # Small, so that a frame of data is read into its own place and not through this buffer.
    with open(0, "rb", buffering=64 * 1024, closefd=False) as source:
        try:
            Agent(source, sink).serve()
        except BrokenPipeError:
            return  # who asked is gone: nobody is left to be told
