"""What is left on a site: asked of the real system, and read from what LUMI's and JSC's own tools have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.command import drive
from aifa_hpc.staging.room import Room, ask_room, read_room
from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

LUMI = {
    "name": "project_465000001",
    "billing": {"storage_hours": {"alloc": 1000, "used": 990}},
    "storage_quotas": {
        "directories": {
            "scratch": {
                "block_quota_used": 10,
                "block_quota_soft": 53687091200,
                "inode_quota_used": 1999990,
                "inode_quota_soft": 2000000,
            }
        }
    },
}
JUTIL = [
    {
        "project": "p1",
        "project-dir": "/e/scratch/p1",
        "data-usage": "1024KB",
        "data-soft-limit": "2048KB",
        "inode-usage": "7",
        "inode-soft-limit": "8000000",
    },
    {"project": "p1", "project-dir": "/e/project1/p1", "data-usage": "odd"},
]


def section(name: str, body: str, code: int = 0) -> str:
    """As the script prints it."""
    return f"aifa: section {name}\n{body}\naifa: said nothing\naifa: end {code}\n"


@pytest.mark.parametrize("below", ["", "/not/made yet/it's"])
def test_a_real_system_says_what_is_left(tmp_path: Path, below: str) -> None:
    """By df, for the nearest folder that exists, with links followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    told = drive(ask_room(f"{tmp_path}/link{below}", "project_465000001"), LocalTransport().run)
    assert (str(tmp_path / "real"), "df") == (told.resolved, told.rooms[0].source)
    assert told.rooms[0].bytes is not None
    assert told.rooms[0].bytes > 0


def test_what_lumi_keeps_of_a_project_is_read() -> None:
    """Blocks are KiB; storage hours are what lumi-allocations shows."""
    told = read_room(section("lumi", json.dumps(LUMI)), "/scratch/project_465000001/x")
    assert (Room(source="lumi-workspaces", bytes=(53687091200 - 10) * 1024, files=10),) == told.rooms
    assert 10 == told.storage_hours


def test_what_jutil_says_is_read_for_the_folder_that_is_meant() -> None:
    """The record of the folder above; one that cannot be read says nothing."""
    text = section("jutil", json.dumps(JUTIL))
    assert (Room(source="jutil", bytes=1024 * 1024, files=7999993),) == read_room(text, "/e/scratch/p1/deep/er").rooms
    assert () == read_room(text, "/e/project1/p1/x").rooms
    assert () == read_room(text, "/e/scratch/p11").rooms


@pytest.mark.parametrize("body", ["", "nonsense", "[]", "{}", '{"storage_quotas": 3}', '[{"project-dir": 1}]', "null"])
def test_what_cannot_be_read_says_nothing(body: str) -> None:
    """Formats of others may change; a copy does not fail for it."""
    text = "".join(section(name, body) for name in ("resolved", "bytes", "files", "lumi", "jutil"))
    told = read_room(text, "/scratch/p/x")
    assert ((), None) == (told.rooms, told.storage_hours)


def test_a_section_that_failed_is_left_out() -> None:
    """Its words are no answer."""
    text = section("lumi", json.dumps(LUMI), code=1)
    assert () == read_room(text, "/scratch/p/x").rooms


def test_df_that_counts_no_inodes_says_nothing_of_files() -> None:
    """Some file systems say 0 of 0."""
    head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
    text = section("bytes", f"{head}lustre 100 40 60 40% /pfs/a b") + section("files", f"{head}lustre 0 0 0 - /pfs/a b")
    assert (Room(source="df", bytes=60 * 1024, files=None),) == read_room(text, "/pfs").rooms
