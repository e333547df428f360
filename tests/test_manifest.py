"""Manifests: paths that stay inside, digests anybody can check, and texts that were not cut or edited."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import ParseError
from aifa_hpc.manifest import (
    BLOCK,
    BlockHasher,
    DataSet,
    Entry,
    Manifest,
    file_digest,
    is_ours,
    make_entry,
    make_manifest,
    manifest_name,
    read_manifest,
    safe_path,
    write_manifest,
)

raw_names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
foreign_names = st.binary(min_size=1, max_size=20).map(
    lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_").decode("utf-8", "surrogateescape")
)
names = (raw_names | foreign_names).filter(lambda name: name not in (".", "..") and ".." not in name.split("\\"))
paths = st.lists(names, min_size=1, max_size=4).map("/".join).filter(lambda path: path[1:2] != ":")
digests = st.binary(min_size=32, max_size=32)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Files of up to four blocks."""
    size = draw(st.integers(0, 4 * BLOCK))
    count = -(-size // BLOCK)
    return make_entry(
        path=draw(paths),
        size=size,
        blocks=tuple(draw(st.lists(digests, min_size=count, max_size=count))),
        mtime_ns=draw(st.integers(0, 2**62)),
        executable=draw(st.booleans()),
    )


def header(**changes: object) -> str:
    """The first line of a manifest of nothing."""
    usual = {"aifa_manifest": 2, "files": 0, "bytes": 0, "tree": "", "sets": []}
    return json.dumps(usual | changes)


manifests = st.lists(entries(), max_size=5, unique_by=lambda entry: entry.path).map(
    lambda found: make_manifest(found, sets=(DataSet(source="somewhere", tool="0.0"), DataSet(source="elsewhere")))
)


@given(manifests)
def test_what_is_written_is_read(manifest: Manifest) -> None:
    """Any path, size and digest, also bytes that are not UTF-8, in ASCII lines."""
    text = "".join(write_manifest(manifest))
    assert (manifest, True) == (read_manifest(text), text.isascii())


@given(manifests, st.data())
def test_a_manifest_that_was_cut_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    """Wherever the cut is."""
    text = "".join(write_manifest(manifest))
    with pytest.raises(ParseError):
        read_manifest(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("../x", "climbs out"),
        ("a/../../x", "climbs out"),
        ("a/..", "climbs out"),
        ("..\\x", "climbs out"),
        ("C:/x", "drive"),
        ("c:\\x", "drive"),
        ("a\0b", "NUL"),
        ("a//b", "empty or '.'"),
        ("./a", "empty or '.'"),
        ("a/", "empty or '.'"),
        ("\ud800", "no file name"),
        ("\udcc3\udcbc", "no file name"),
    ],
)
def test_a_path_that_leaves_is_refused(path: str, reason: str) -> None:
    """In a manifest too, before anything is opened; the error names the path."""
    with pytest.raises(ParseError, match=reason) as caught:
        safe_path(path)
    assert repr(path) in str(caught.value)
    line = {"path": path, "set": 0, "size": 0, "mtime_ns": 0, "executable": False, "digest": file_digest(())}
    with pytest.raises(ParseError, match=reason):
        read_manifest(f"{header(files=1)}\n{json.dumps(line)}\n")


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a..b/c", "-rf", "a:b", "new\nline", "~", "ü/☃", "\udcff"])
def test_odd_names_are_names(path: str) -> None:
    """Only what leaves the folder is refused."""
    assert path == safe_path(path)


@given(st.text("aC0_./:-=", min_size=1, max_size=12))
def test_plain_paths_are_held_to_the_same_rules(path: str) -> None:
    """What needs no closer look has no empty component, none of dots alone, and no drive."""
    try:
        safe_path(path)
    except ParseError:
        legal = False
    else:
        legal = True
    parts = path.split("/")
    drive = path[:1].isalpha() and path[1:2] == ":" and (len(path) == 2 or path[2] == "/")
    assert legal == (not any(part in ("", ".", "..") for part in parts) and not drive)


def test_a_short_file_has_the_digest_that_sha256sum_prints() -> None:
    """Also an empty one."""
    hasher = BlockHasher()
    hasher.update(memoryview(b"hello world"))
    assert f"sha256:{hashlib.sha256(b'hello world').hexdigest()}" == file_digest(hasher.finish())
    assert f"sha256:{hashlib.sha256().hexdigest()}" == file_digest(BlockHasher().finish())


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 50))
def test_blocks_do_not_depend_on_how_bytes_arrive(pieces: list[bytes], block: int) -> None:
    """However the stream is cut, its blocks have the same digests."""
    hasher = BlockHasher(block)
    for piece in pieces:
        hasher.update(memoryview(piece))
    whole = b"".join(pieces)
    wanted = [hashlib.sha256(whole[at : at + block]).digest() for at in range(0, len(whole), block)]
    assert wanted == list(hasher.finish())


def test_the_tree_hash_is_of_paths_and_contents_only() -> None:
    """Times and modes do not count; names and contents do."""

    def tree(path: str = "a", content: bytes = b"1", mtime_ns: int = 1) -> str:
        blocks = (hashlib.sha256(content).digest(),)
        return make_manifest([make_entry(path=path, size=1, blocks=blocks, mtime_ns=mtime_ns)]).tree

    assert tree() == tree(mtime_ns=2)
    assert len({tree(), tree(path="b"), tree(content=b"2")}) == 3


def test_an_entry_belongs_to_a_set_that_is_there() -> None:
    """By its number."""
    entry = replace(make_entry(path="a", size=0, blocks=()), set=1)
    with pytest.raises(ParseError, match="no data set 1"):
        make_manifest([entry])
    assert (entry,) == make_manifest([entry], sets=(DataSet(), DataSet(source="b"))).of(1)


def test_an_edited_manifest_is_refused() -> None:
    """A size, a path or a digest that was changed no longer makes the tree hash."""
    text = "".join(write_manifest(make_manifest([make_entry(path="a", size=0, blocks=())])))
    with pytest.raises(ParseError, match="vouches"):
        read_manifest(text.replace('"path": "a"', '"path": "b"'))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "line 1.*not JSON"),
        ("{}", "needs exactly the keys"),
        (header(aifa_manifest=1), "version 1"),
        (header(x=1), "exactly"),
        (header(sets=[{"source": "a"}]), "`sets` .* needs"),
        (header(sets={}), "`sets` .* needs"),
    ],
)
def test_what_is_no_manifest_is_told(line: str, message: str) -> None:
    """By line and reason."""
    with pytest.raises(ParseError, match=message):
        read_manifest(line + "\n")


def test_a_digest_must_fit_its_size() -> None:
    """A long file has a digest of blocks, and they must make it."""
    digest = hashlib.sha256(b"1").digest()
    with pytest.raises(ParseError, match="is not the digest of a file"):
        Entry(path="a", size=BLOCK + 1, digest=f"sha256:{digest.hex()}")
    with pytest.raises(ParseError, match="1 block digests do not make"):
        Entry(path="a", size=BLOCK + 1, digest=file_digest((digest, digest)), blocks=(digest,))
    with pytest.raises(ParseError, match="negative"):
        Entry(path="a", size=-1, digest=f"sha256:{digest.hex()}")


def test_a_path_occurs_once() -> None:
    """Twice the same file would hide one of them."""
    entry = make_entry(path="a", size=0, blocks=())
    with pytest.raises(ParseError, match="does not come after"):
        make_manifest([entry, entry])


def test_our_own_files_are_known_by_name() -> None:
    """Manifests and partial files; nothing else that begins with a dot."""
    ours = [manifest_name(), manifest_name("weights.bin"), "x/.a.f00-1.aifa-part"]
    data = [".hidden", "aifa-manifest.jsonl", "a.aifa-part", ".aifa-manifest.jsonl/a"]
    assert ([True] * 3, [False] * 4) == ([is_ours(path) for path in ours], [is_ours(path) for path in data])
