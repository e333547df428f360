"""What a site's facts say of a copy: refused where it cannot work, told where something would work better."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from aifa_hpc.sites.load import load_site
from aifa_hpc.staging.advice import area_of, hints, needs, objections, project_of
from aifa_hpc.staging.model import Found
from aifa_hpc.staging.plan import Action, Plan, Verdict
from aifa_hpc.staging.room import Room, Told

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NOTHING = Told(resolved="", rooms=())
LUMI, JUPITER = load_site("lumi"), load_site("jupiter")
SCRATCH = "/scratch/project_465000001/x"


def plan(files: int, size: int, *, there: bool = False) -> Plan:
    """So many files of that size to send, in a folder each."""
    found = [Found(path=f"d{number}/f", size=size, pin="p") for number in range(files)]
    return Plan(
        actions=tuple(
            Action(verdict=Verdict.SEND, file=one, path=one.path, there=one if there else None) for one in found
        )
    )


@pytest.mark.parametrize(
    ("site", "path", "area", "project"),
    [
        (LUMI, SCRATCH, "scratch", "project_465000001"),
        (LUMI, "/flash/project_465000001", "flash", "project_465000001"),
        (LUMI, "/users/ada/x", "home", ""),
        (LUMI, "/scratch", "", ""),
        (JUPITER, "/e/fscratch/p1/x", "fscratch", "p1"),
        (JUPITER, "/e/home/jusers/ada1/jupiter/x", "home", ""),
    ],
)
def test_a_path_lies_in_an_area(site, path: str, area: str, project: str) -> None:  # type: ignore[no-untyped-def]
    """And names the project, where the area is a project's."""
    found = area_of(site, path)
    assert (area, project) == (found[0] if found else "", project_of(site, path))


def test_new_files_and_folders_are_counted() -> None:
    """Those in place of others cost bytes for a while, and no inode."""
    assert [(20, 4), (20, 0)] == [needs(plan(2, 10)), needs(plan(2, 10, there=True))]


@pytest.mark.parametrize(
    ("path", "told", "files", "size", "wanted"),
    [
        ("/e/scratch/p1", NOTHING, 1, 1, set()),
        ("/p/scratch/p1", NOTHING, 1, 1, {"destination"}),
        ("/e/scratch/p1", Told(resolved="/p/scratch/p1", rooms=()), 1, 1, {"destination"}),
        ("/e/home/jusers/ada1/jupiter/x", NOTHING, 50_000, 1_000_000, {"files", "bytes"}),
        (
            "/e/scratch/p1",
            Told(resolved="", rooms=(Room(source="jutil", bytes=10, files=3),)),
            2,
            6,
            {"files", "bytes"},
        ),
        ("/e/scratch/p1", Told(resolved="", rooms=(Room(source="jutil", bytes=12, files=4),)), 2, 6, set()),
        ("/e/home/jusers/ada1/jupiter/x", Told(resolved="", rooms=(Room(source="jutil"),)), 50_000, 10**6, set()),
    ],
)
def test_what_cannot_work_is_refused(path: str, told: Told, files: int, size: int, wanted: set[str]) -> None:
    """Paths that compute nodes do not see, also behind a link; inodes and bytes, by quota before the usual limit."""
    assert wanted == {problem.key for problem in objections(JUPITER, path, plan(files, size), told)}


def test_what_an_interrupted_copy_brought_is_not_counted_again() -> None:
    """Or a copy could never be resumed on a disk that is nearly full."""
    told = Told(resolved="", rooms=(Room(source="df", bytes=50),))
    assert ["bytes"] == [one.key for one in objections(LUMI, SCRATCH, plan(1, 100), told)]
    assert [] == list(objections(LUMI, SCRATCH, plan(1, 100), told, held=60))


def test_hints_name_dates_stripes_and_the_faster_area() -> None:
    """Each with what to do; nothing of it where it does not apply."""
    few = list(hints(LUMI, SCRATCH, plan(4, 2**40), Told(resolved="", rooms=(), storage_hours=2400.0), NOW))
    many = list(hints(LUMI, SCRATCH, plan(20_000, 10), NOTHING, NOW))
    slow = " ".join(hints(JUPITER, "/e/scratch/p1", plan(1, 2**31), NOTHING, NOW))
    fast = " ".join(hints(JUPITER, "/e/fscratch/p1", plan(1, 2**31), NOTHING, NOW))
    assert any("from 2027-02-22" in hint and "sources differ" in hint for hint in few)
    assert any(f"lfs setstripe -c 8 -S 4m {SCRATCH}" in hint for hint in few)
    assert any("2400 TB-hours" in hint and "in 23 days" in hint for hint in few)
    assert [True, False] == [any("packed" in hint for hint in many), any("setstripe" in hint for hint in many)]
    assert [True, False, False] == [text in slow for text in ("fscratch of jupiter", "setstripe", "packed")]
    assert "is the better place" not in fast
