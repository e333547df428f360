# ruff: noqa: UP006, UP035, UP045 - Python 3.6 has no other way to say it
# ruff: noqa: PTH120 - paths are bytes, which pathlib refuses
"""Small files that arrived in one call: written aside, published when they are durable, in steps where order counts.

Python 3.6 and the standard library: it goes over with the agent. A file of a step is published when all of the steps
before it are and would survive a crash of the machine; when one was not, nothing that comes after it is.
"""

import os
from typing import Any, Dict, List, Optional

from aifa_hpc.staging.files import Files, Refused, Sums, raw, text, write_all

DAMAGED = "arrived with another SHA-256 than it was sent with"


def put_aside(files: Files, file: Dict[str, Any], view: memoryview) -> Any:
    """The descriptor of a new partial file that holds that, or why there is none."""
    if sums_of(view) != file["blocks"]:
        return failure(Refused("damaged", DAMAGED))
    partial = raw(file["partial"])
    try:
        fd = files.create(partial)
        try:
            write_all(fd, view, 0)
        except BaseException:
            os.close(fd)
            files.drop(partial)
            raise
    except (OSError, Refused) as error:
        return failure(error)
    return fd


def publish_all(files: Files, made: List[Any], steps: Optional[List[int]]) -> Dict[str, Any]:
    """A row, or why there is none, for each of what was put aside; ``steps`` says how many belong to each step."""
    rows = []  # type: List[Any]
    sound = True
    for count in steps or [len(made)]:
        step = made[len(rows) : len(rows) + count]
        if not sound:
            rows += [_leave(files, fd, file) for fd, file in step]
            continue
        found = [_publish(files, fd, file) for fd, file in step]
        if steps:
            found = _settled(files, found)
            sound = not any(isinstance(row, dict) for row in found)
        rows += found
    return {"rows": rows}


def publish(files: Files, fd: int, header: Dict[str, Any], whole: bool = False) -> Dict[str, Any]:
    """Gives a partial file its name. Closes ``fd``."""
    partial, target = raw(header["partial"]), raw(header["path"])
    try:
        if header.get("instead") is not None:
            try:
                _require(files, target, header["instead"])
            except BaseException:
                os.close(fd)
                raise
        found = files.publish(fd, partial, target, header["size"], header["mtime_ns"], header["executable"])
    except BaseException:
        if whole:  # nobody will go on with it
            files.drop(partial)
        raise
    return {"row": found}


def _require(files: Files, target: bytes, pin: str) -> None:
    """Refuses to replace another file than the one that is meant."""
    for found in files.stat([target]):
        if pin != (found[3] if found is not None else ""):
            raise Refused("changed", "was replaced meanwhile", target)


def _publish(files: Files, fd: Any, file: Dict[str, Any]) -> Any:
    if isinstance(fd, dict):
        return fd
    try:
        return publish(files, fd, file, True)["row"]
    except (OSError, Refused) as error:
        return failure(error)


def _leave(files: Files, fd: Any, file: Dict[str, Any]) -> Any:
    """Takes back what must not be published, as a file before it was not."""
    if not isinstance(fd, dict):
        os.close(fd)
        files.drop(raw(file["partial"]))
    return failure(Refused("left", "was left, as a file before it did not arrive"))


def _settled(files: Files, rows: List[Any]) -> List[Any]:
    """The rows of what was published, once its folders, and those above them, would survive a crash of the machine."""
    published = [raw(row[0]) for row in rows if not isinstance(row, dict)]
    folders = {b""} if published else set()
    for path in published:
        folder = os.path.dirname(path)
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    try:
        files.sync(sorted(folders))
    except OSError as error:
        return [failure(error)] * len(rows)
    return rows


def sums_of(view: memoryview) -> List[str]:
    """Digests of the blocks of a small file."""
    sums = Sums()
    sums.update(view)
    return sums.finish()[0]


def failure(error: Exception) -> Dict[str, Any]:
    """Why a call failed, as the other side is told."""
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, bytes) else b""
        return {"kind": "os", "errno": error.errno or 0, "what": error.strerror or str(error), "path": text(name)}
    assert isinstance(error, Refused)
    return {"kind": error.kind, "errno": 0, "what": error.what, "path": text(error.path)}
