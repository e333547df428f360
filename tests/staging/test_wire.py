"""Frames: what is encoded is decoded, by this side and by the agent's own code."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc import manifest
from aifa_hpc.errors import ParseError
from aifa_hpc.staging import agent, files, wire
from aifa_hpc.staging.model import PART_SUFFIX
from aifa_hpc.staging.wire import PREFIX, Kind, after_magic, decode_header, decode_prefix, encode

values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
headers = st.none() | st.dictionaries(st.text(max_size=10), values, max_size=4)
calls = st.integers(0, 2**32 - 1)


@given(st.sampled_from(Kind), calls, headers, st.integers(0, wire.BODY_LIMIT))
def test_frames_round_trip(kind: Kind, call: int, header: dict[str, object] | None, body: int) -> None:
    """Any header of JSON, also with characters outside of ASCII."""
    data = encode(kind, call, header, body=body)
    prefix = decode_prefix(data[: PREFIX.size])
    assert (kind, call, body, len(data) - PREFIX.size) == (prefix.kind, prefix.call, prefix.body, prefix.header)
    assert (header or {}) == decode_header(data[PREFIX.size :])


@given(st.sampled_from(Kind), calls, headers, st.binary(max_size=100))
def test_the_agent_understands_us(kind: Kind, call: int, header: dict[str, object] | None, body: bytes) -> None:
    """Its own decoder, kept apart for Python 3.6, reads our frames."""
    other = agent.Agent(io.BytesIO(encode(kind, call, header, body=len(body)) + body), io.BytesIO())
    assert (kind, call, header or {}, len(body)) == other._receive()
    assert body == bytes(other._body(len(body)))


@given(st.sampled_from(Kind), calls, headers, st.binary(max_size=100))
def test_we_understand_the_agent(kind: Kind, call: int, header: dict[str, object] | None, body: bytes) -> None:
    """And the other way round."""
    sink = io.BytesIO()
    agent.Agent(io.BytesIO(), sink)._send(int(kind), call, header, body)
    data = sink.getvalue()
    prefix = decode_prefix(data[: PREFIX.size])
    rest = data[PREFIX.size :]
    assert (kind, call, header or {}, body) == (
        prefix.kind,
        prefix.call,
        decode_header(rest[: prefix.header]),
        rest[prefix.header :],
    )


def test_constants_have_not_drifted() -> None:
    """The far side cannot import ours, so it has copies."""
    assert (wire.MAGIC, PREFIX.format, manifest.BLOCK) == (agent.MAGIC, agent.FRAME.format, files.BLOCK)
    assert (manifest.MANIFEST, PART_SUFFIX) == (files.MANIFEST.decode(), files.PART_SUFFIX.decode())
    theirs = {name: getattr(agent, name) for name in Kind.__members__}
    assert {kind.name: kind.value for kind in Kind} == theirs


@given(st.lists(st.binary(max_size=30), max_size=10), st.integers(0, 14), st.lists(st.binary(max_size=5), max_size=3))
def test_magic_is_found_after_any_banner(lines: list[bytes], cut_at: int, rest: list[bytes]) -> None:
    """Also when it begins like the magic itself; never before all of it was heard."""
    banner = b"\n".join(lines)
    if wire.MAGIC in banner:
        return
    after = b"".join(rest)
    whole = banner + wire.MAGIC + after
    assert whole[after_magic(whole) :].endswith(after)
    partly = banner + wire.MAGIC[:cut_at]
    assert after_magic(partly) == (-1 if wire.MAGIC not in partly else len(partly))


def test_a_login_that_only_talks_is_given_up() -> None:
    """There is an end to what is listened to."""
    with pytest.raises(ParseError, match="did not speak up"):
        after_magic(b"x" * (wire.BANNER_LIMIT + 1))


@pytest.mark.parametrize("data", [b"\0" * PREFIX.size, b"\xff" * PREFIX.size, PREFIX.pack(2, 1, 0, 2**31)])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    """An unknown kind, or lengths that nobody sends."""
    with pytest.raises(ParseError, match="not a frame"):
        decode_prefix(data)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff"])
def test_a_header_is_an_object_of_json(data: bytes) -> None:
    """Anything else is refused."""
    with pytest.raises(ParseError, match="header"):
        decode_header(data)


@given(st.binary(max_size=60), st.booleans())
def test_the_agents_hashes_are_ours(data: bytes, md5: bool) -> None:
    """Two implementations, one digest."""
    sums = files.Sums(md5)
    hasher = manifest.BlockHasher()
    for view in (memoryview(data)[:20], memoryview(data)[20:]):
        sums.update(view)
        hasher.update(view)
    assert [block.hex() for block in hasher.finish()] == sums.finish()[0]


def test_paths_cross_the_wire_as_they_are() -> None:
    """Bytes that are not UTF-8 too, in a header of pure ASCII."""
    path = b"caf\xe9/\xff\n"
    sent = encode(Kind.CALL, 1, {"path": files.text(path)})[PREFIX.size :]
    assert (True, path) == (sent.isascii(), files.raw(json.loads(sent)["path"]))
