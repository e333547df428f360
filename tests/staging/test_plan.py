"""Plans: carried out, they make both sides equal; made again, they have nothing to do."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.errors import InputError, ParseError
from aifa_hpc.manifest import make_entry, make_manifest
from aifa_hpc.staging.model import Found, fingerprint, new_token, partial_path, partial_prefix, read_partial
from aifa_hpc.staging.plan import Plan, Verdict, known_here, known_there, make_plan, settled

names = st.sampled_from(["a", "b", "c/d", "c/e", "f"])
folders = st.dictionaries(names, st.binary(max_size=3), max_size=5)
subsets = st.sets(names)


def blocks(data: bytes) -> tuple[bytes, ...]:
    """Block digests of a short file."""
    return (hashlib.sha256(data).digest(),) if data else ()


def listed(files: dict[str, bytes], version: int = 1) -> list[Found]:
    """What an endpoint would list."""
    return [
        Found(path=path, size=len(data), pin=f"{version}-{hashlib.sha256(data).hexdigest()[:8]}", mtime_ns=version)
        for path, data in files.items()
    ]


def plan_for(src: dict[str, bytes], dst: dict[str, bytes], here: set[str], there: set[str]) -> Plan:
    """A plan, with digests known for those paths."""
    return make_plan(
        listed(src),
        names={},
        there={found.path: found for found in listed(dst)},
        here_known={path: blocks(data) for path, data in src.items() if path in here},
        there_known={path: blocks(data) for path, data in dst.items() if path in there},
    )


def carried_out(plan: Plan, src: dict[str, bytes], dst: dict[str, bytes]) -> dict[str, bytes]:
    """The destination afterwards."""
    after = dict(dst)
    for action in plan.actions:
        final = action
        if action.verdict is Verdict.COMPARE:
            final = settled(action, blocks(src[action.path]), blocks(dst[action.path]))
        if final.verdict is Verdict.SEND:
            after[action.path] = src[action.path]
    return after


@given(folders, folders, subsets, subsets)
def test_a_plan_makes_both_sides_equal(
    src: dict[str, bytes], dst: dict[str, bytes], here: set[str], there: set[str]
) -> None:
    """Whatever is known of either; what only the destination has stays."""
    after = carried_out(plan_for(src, dst, here, there), src, dst)
    assert dst | src == after


@given(folders, folders, subsets, subsets)
def test_a_plan_made_again_does_nothing(
    src: dict[str, bytes], dst: dict[str, bytes], here: set[str], there: set[str]
) -> None:
    """With everything known, all is skipped."""
    after = carried_out(plan_for(src, dst, here, there), src, dst)
    again = plan_for(src, after, set(src), set(after))
    assert [Verdict.SKIP] * len(src) == [action.verdict for action in again.actions]


@given(folders, folders, subsets, subsets, st.integers(0, 5))
def test_a_plan_cut_short_is_taken_up(
    src: dict[str, bytes], dst: dict[str, bytes], here: set[str], there: set[str], done: int
) -> None:
    """After any number of its actions, a new plan does what is left."""
    first = plan_for(src, dst, here, there)
    halfway = carried_out(Plan(actions=first.actions[:done]), src, dst)
    assert dst | src == carried_out(plan_for(src, halfway, set(), set()), src, halfway)


@given(folders, folders)
def test_nothing_that_is_known_is_hashed_again(src: dict[str, bytes], dst: dict[str, bytes]) -> None:
    """Comparisons are for what nobody knows."""
    plan = plan_for(src, dst, set(src), set(dst))
    assert () == plan.of(Verdict.COMPARE)


def test_a_pin_that_changed_makes_a_digest_unknown() -> None:
    """The ledger is believed only for the very same state."""
    noted = {"a": ("1-x", blocks(b"1")), "b": ("2-y", blocks(b"2"))}
    now = [Found(path="a", size=1, pin="1-x"), Found(path="b", size=1, pin="3-y"), Found(path="c", size=1, pin="")]
    assert {"a": blocks(b"1")} == known_here(now, noted)


def test_a_manifest_is_believed_for_untouched_files_only() -> None:
    """Size and time must be those it recorded; the ledger comes first."""
    made = {"a": b"1", "b": b"2", "c": b"33"}
    manifest = make_manifest(
        make_entry(path=path, size=len(data), blocks=blocks(data), mtime_ns=1) for path, data in made.items()
    )
    there = {
        "a": Found(path="a", size=1, pin="p", mtime_ns=1),
        "b": Found(path="b", size=1, pin="p", mtime_ns=2),
        "c": Found(path="c", size=1, pin="p", mtime_ns=1),
    }
    assert {"a": blocks(b"1")} == known_there(there, {}, manifest)
    assert {"a": blocks(b"9")} == known_there(there, {"a": ("p", blocks(b"9"))}, manifest)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_a_listing_cannot_lead_out(path: str) -> None:
    """A source that lists such a path is not believed."""
    with pytest.raises(ParseError, match="relative"):
        make_plan([Found(path=path, size=1, pin="p")], names={}, there={}, here_known={}, there_known={})


def test_a_folder_in_the_way_is_told() -> None:
    """Before anything is sent."""
    there = {"a": Found(path="a", size=-1, pin="p")}
    with pytest.raises(InputError, match="'a' is not a file"):
        make_plan([Found(path="a", size=1, pin="p")], names={}, there=there, here_known={}, there_known={})


segments = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)


@given(st.lists(segments, min_size=1, max_size=2).map("/".join), st.binary(min_size=4, max_size=4))
def test_partial_names_fit_and_are_found_again(path: str, attempt: bytes) -> None:
    """Beside the target, at most 255 bytes, with the token that made them."""
    token = new_token(fingerprint("here", Found(path=path, size=1, pin="p")), attempt.hex())
    name = partial_path(path, token)
    assert path.rpartition("/")[0] == name.rpartition("/")[0]
    assert len(name.rpartition("/")[2].encode()) <= 255
    found = read_partial(name, size=7)
    assert found is not None
    assert (token, 7, name) == (found.token, found.size, partial_path(found.path, found.token))
    assert partial_prefix(path) == partial_prefix(found.path)


def test_another_state_has_another_fingerprint() -> None:
    """Place, path, size and pin all count."""
    base = Found(path="a", size=1, pin="p")
    others = [Found(path="b", size=1, pin="p"), Found(path="a", size=2, pin="p"), Found(path="a", size=1, pin="q")]
    prints = {fingerprint("here", found) for found in (base, *others)} | {fingerprint("there", base)}
    assert len(prints) == 5
