"""The frames spoken with the remote agent: bytes in, values out, no I/O.

``staging.agent`` holds the other end in Python 3.6 and cannot import this; a test speaks both, so they cannot drift.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from aifa_hpc.errors import ParseError

MAGIC = b"\0aifa-agent 1\n"
PREFIX = struct.Struct(">BIII")
BANNER_LIMIT = 256 * 1024
"""How much a login may print before the agent's first frame."""

HEADER_LIMIT = 16 * 2**20
BODY_LIMIT = 16 * 2**20
"""Longest header and body believed; the agent sends at most 1 MiB of data, or a thousand rows of a listing."""


class Kind(IntEnum):
    """What a frame is; the agent's docstring shows how they follow each other."""

    CALL = 1
    DATA = 2
    END = 3
    ABORT = 4
    REPLY = 5
    FAIL = 6
    PACKED = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Prefix:
    """The fixed beginning of a frame.

    Attributes:
        kind: What it is.
        call: Which call it belongs to.
        header: Bytes of JSON that follow.
        body: Bytes of data that follow those.
    """

    kind: Kind
    call: int
    header: int
    body: int


def encode(kind: Kind, call: int, header: dict[str, Any] | None = None, *, body: int = 0) -> bytes:
    """A frame up to its body, whose ``body`` bytes are to follow."""
    head = json.dumps(header).encode("ascii") if header is not None else b""
    return PREFIX.pack(kind, call, len(head), body) + head


def decode_prefix(data: bytes | bytearray | memoryview) -> Prefix:
    """The inverse of :func:`encode`, for the first ``PREFIX.size`` bytes.

    Raises:
        ParseError: No frame begins like that.
    """
    kind, call, header, body = PREFIX.unpack(data)
    if kind not in iter(Kind) or header > HEADER_LIMIT or body > BODY_LIMIT:
        raise ParseError(f"what arrived is not a frame of the agent: {bytes(data)!r}")
    return Prefix(kind=Kind(kind), call=call, header=header, body=body)


def decode_header(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The JSON object between prefix and body; nothing is an empty one.

    Raises:
        ParseError: Not a JSON object.
    """
    if not data:
        return {}
    try:
        header = json.loads(bytes(data).decode("ascii"))
    except ValueError as error:
        raise ParseError(f"a frame's header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ParseError(f"a frame's header is not an object: {header!r}")
    return header


def after_magic(heard: bytes | bytearray) -> int:
    """Where the agent's frames begin in what was heard so far, after whatever a login printed; -1 for not yet.

    Raises:
        ParseError: It printed too much.
    """
    found = heard.find(MAGIC)
    if found < 0:
        if len(heard) > BANNER_LIMIT:
            raise ParseError(f"the far side printed {len(heard)} bytes and the agent did not speak up")
        return -1
    return found + len(MAGIC)
