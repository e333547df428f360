"""What every copy must survive, as a pytest class to inherit from; ``aifa_hpc.testing.copies`` says what a pair is.

::

    @pytest.fixture
    def pair(tmp_path: Path) -> Pair:
        return Pair(rounds=20, source=..., target=..., ...)

    class TestMine(CopyChaos):
        ...  # nothing else

After each fault the destination equals its source or there is an error that says what to do; readers never saw half a
file; the same copy again sends at most a part for each lane twice; and what was left is found by ``gc`` or gone. Faults
strike at random points: ``aifa_random`` shows its seed. Figures go to ``aifa_figures``. A test that a pair cannot have
(no link to cut, no disk to fill) is skipped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import AifaError
from aifa_hpc.staging.ledger import Ledger
from aifa_hpc.staging.model import partial_path
from aifa_hpc.staging.strays import find_strays, remove_strays
from aifa_hpc.testing.copies import At, Victim
from aifa_hpc.testing.endpoints import FolderPlace
from aifa_hpc.testing.feeds import some_bytes
from aifa_hpc.testing.proxy import Cut

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.strays import Stray
    from aifa_hpc.testing.copies import Pair
    from aifa_hpc.testing.plugin import Figures
    from aifa_hpc.testing.proxy import Direction, Proxy

_TALK = 2**20
"""Bytes of a second login and of questions about what is there, beside the data."""

_SPARE = 4 * 2**20
"""Bytes of a copy that may need no room: holes, what is compressed or packed."""

_PATIENCE_SECONDS = 10.0
_NO_LINK = "neither place is reached through a proxy, so there is no link to cut or to lengthen"


class CopyChaos:
    """The faults; ``pair`` is the fixture that a module gives."""

    def test_killed_anywhere(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """SIGKILL at any byte and at any moment, of planning and publishing too."""
        files = pair.fill()
        total = _size(files)
        begun = time.monotonic()
        assert Victim(pair).ends() == ""
        took = time.monotonic() - begun
        assert files == pair.visible()
        killed, worst, cleaned = 0, 0, 0
        for at_a_moment in _by_turns(pair, aifa_random):
            pair.forget()
            if at_a_moment:
                victim = Victim(pair)
                ended = victim.killed_after(aifa_random.uniform(0, took))
            else:
                victim = Victim(pair, dies_at=aifa_random.randrange(1, total))
                ended = victim.ends()
            killed += ended is None
            _require_whole(pair, files)
            left = _left(pair)
            if aifa_random.random() < 1 / 4:
                cleaned += _clean(pair, left)
                pair.copy()
            else:
                worst = max(worst, victim.sent + pair.copy().bytes_sent - total)
            assert (files, set()) == (pair.visible(), pair.unfinished())
        aifa_figures(killed=killed, cleaned=cleaned, parts_twice=round(worst / pair.part, 2), lanes=pair.lanes)
        assert killed >= pair.rounds // 2  # at a byte always; at a moment it may have ended by then
        assert worst <= pair.lanes * pair.part

    def test_links_cut_anywhere(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """At any byte of either direction; in two runs hardly more is sent than in one."""
        if not pair.links:
            pytest.skip(_NO_LINK)
        files = pair.fill()
        total = _size(files)
        _arm(pair, None)
        pair.copy()
        whole = [_passed(link) for link in pair.links]
        cuts, worst = 0, 0
        told: list[AifaError] = []
        first = aifa_random.randrange(len(pair.links))
        for number in range(first, first + pair.rounds):
            pair.forget()
            at = number % len(pair.links)
            link, passed = pair.links[at], whole[at]
            way: Direction = aifa_random.choices(("up", "down"), weights=passed)[0]
            before = link.cuts
            _arm(pair, None)
            link.arm(Cut(direction=way, after=aifa_random.randrange(1, passed[way == "down"])))
            counting = At(sent=total + 1, act=lambda: None)
            try:
                pair.copy(counting)
            except AifaError as error:
                told.append(error)
            cuts += link.cuts - before
            spent = [_passed(one) for one in pair.links]
            _require_whole(pair, files)
            _arm(pair, None)
            handed = counting.passed + pair.copy().bytes_sent - total
            assert (files, set()) == (pair.visible(), pair.unfinished())
            # Both are more than what went twice: what was handed over may not have left, and what passes the link is
            # also questions, a login, and what had to be read back for its hash.
            carried = max(
                sum(first) + sum(_passed(one)) - sum(needed)
                for one, first, needed in zip(pair.links, spent, whole, strict=True)
            )
            worst = max(worst, min(handed, carried))
        aifa_figures(cuts=cuts, told=len(told), parts_twice=round(worst / pair.part, 2), lanes=pair.lanes)
        assert cuts >= pair.rounds // 2  # a way that others have warmed up may need fewer bytes than the measured one
        assert [str(error) for error in told if not error.hint] == []
        assert worst <= pair.lanes * pair.part + _TALK

    def test_a_long_link(self, pair: Pair) -> None:
        """5 ms each way change nothing but the time."""
        if not pair.links:
            pytest.skip(_NO_LINK)
        files = pair.fill()
        for link in pair.links:
            link.delay = 0.005
        try:
            pair.copy()
        finally:
            for link in pair.links:
                link.delay = 0.0
        assert files == pair.visible()

    def test_answers_that_come_twice_and_out_of_order(
        self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures
    ) -> None:
        """An acknowledgement counts once, for what it is for."""
        if pair.open_scrambled is None:
            pytest.skip("the target has no agent whose answers could be scrambled (`open_scrambled`)")
        files = pair.fill()
        reordered = doubled = 0
        for _ in range(pair.rounds):
            pair.forget()
            endpoint, way = pair.open_scrambled(aifa_random)
            dataclasses.replace(pair, open_target=lambda: endpoint).copy()  # noqa: B023 - called at once
            assert (files, set()) == (pair.visible(), pair.unfinished())
            reordered, doubled = reordered + way.reordered, doubled + way.doubled
        aifa_figures(reordered=reordered, doubled=doubled)
        assert doubled

    def test_a_server_that_restarts(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """Amid a copy, at any byte."""
        if pair.restart is None:
            pytest.skip("the pair names no server of either place that could be restarted (`restart`)")
        files = pair.fill()
        restart, told = pair.restart, 0
        for _ in range(pair.rounds):
            pair.forget()
            told += _strike(pair, files, aifa_random, restart)
            pair.copy()
            assert (files, set()) == (pair.visible(), pair.unfinished())
        aifa_figures(restarts=pair.rounds, told=told)

    def test_what_the_far_disk_lost_is_sent_again(self, pair: Pair, aifa_random: random.Random) -> None:
        """A machine that crashed may have cut what it acknowledged, or left zeros there."""
        if not isinstance(pair.target, FolderPlace):
            pytest.skip("the target is an object store, and nobody but itself reaches parts of its uploads")
        files = pair.fill()
        for truncated in _by_turns(pair, aifa_random):
            pair.forget()
            assert None is Victim(pair, dies_at=aifa_random.randrange(_size(files) // 2, _size(files))).ends()
            for name in sorted(pair.unfinished()):
                path = pair.target.root / name
                at = aifa_random.randrange(path.stat().st_size + 1)
                if truncated:
                    os.truncate(path, at)
                else:
                    with path.open("r+b") as file:
                        file.seek(at)
                        file.write(bytes(4096))
            pair.copy()
            assert (files, set()) == (pair.visible(), pair.unfinished())

    def test_a_disk_that_is_full(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """The error names the cause; with room again the rest is sent."""
        if pair.mount is None:
            pytest.skip("the pair names no tmpfs of the target's that could be made small (`mount`)")
        resized = functools.partial(_resized, pair.mount)
        _run_out(pair, aifa_random, aifa_figures, resized, "No space left", "Free some space")

    def test_a_quota_that_is_used_up(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """The same of a quota, of a folder or of a bucket, on a disk with room; what was verified stays as it is."""
        if pair.quota is None:
            pytest.skip("the pair names no quota of the target's that could be used up (`quota`)")
        _run_out(pair, aifa_random, aifa_figures, pair.quota, "[Qq]uota", "quota")

    def test_leave_that_is_withdrawn(self, pair: Pair, aifa_random: random.Random) -> None:
        """The folder takes no more names, amid a copy: told, and what arrived is kept."""
        if pair.mount is None or not isinstance(pair.target, FolderPlace):
            pytest.skip("the target is no folder of a tmpfs of its own (`mount`), whose names `chattr +i` freezes")
        files, root = pair.fill(), pair.target.root
        for _ in range(pair.rounds):
            pair.forget()
            try:
                told = _strike(pair, files, aifa_random, lambda: _closed(root, "+i"))
            finally:
                _closed(root, "-i")
            assert told
            pair.copy()
            assert (files, set()) == (pair.visible(), pair.unfinished())

    def test_a_source_that_changes(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """Amid a copy: the old file or none is seen, never a mixture; the next copy brings the new one."""
        files = pair.fill()
        old, told = files["big"], 0
        for number in range(pair.rounds):
            pair.forget()
            new = files | {"big": some_bytes(len(old) + 1 + number, 7 + number)}
            change = functools.partial(pair.source.put, "big", new["big"])
            told += _strike(pair, files, aifa_random, change)
            pair.copy()
            assert (new, set()) == (pair.visible(), pair.unfinished())
            pair.source.put("big", old)
        aifa_figures(changes=pair.rounds, told=told)

    def test_two_engines_on_one_target(self, pair: Pair, aifa_random: random.Random, aifa_figures: Figures) -> None:
        """Neither knows of the other, and one may be killed: what is seen is right, and a third copy ends well."""
        files = pair.fill()
        told = 0
        for one_dies in _by_turns(pair, aifa_random):
            pair.forget()
            dies_at = aifa_random.randrange(1, _size(files)) if one_dies else None
            both = [Victim(pair, ledger="one"), Victim(pair, ledger="other", dies_at=dies_at)]
            ends = [victim.ends() for victim in both]
            told += sum(bool(end) for end in ends)
            assert [end for end in ends if end and "un the same command again" not in end] == []
            _require_whole(pair, files)
            pair.copy(ledger="one")
            assert files == pair.visible()
            _clean(pair, _left(pair))
        aifa_figures(races=pair.rounds, told=told)


def _by_turns(pair: Pair, chance: random.Random) -> Iterator[bool]:
    """One way and the other for each round; which comes first is drawn, so that a single round may be either."""
    first = chance.randrange(2)
    return (bool((first + number) % 2) for number in range(pair.rounds))


def _size(files: dict[str, bytes]) -> int:
    return sum(map(len, files.values()))


def _require_whole(pair: Pair, files: dict[str, bytes]) -> None:
    """Nothing that readers see is anything but a whole file."""
    assert [path for path, data in pair.visible().items() if data != files.get(path)] == []


def _strike(pair: Pair, files: dict[str, bytes], chance: random.Random, act: Callable[[], None]) -> bool:
    """A copy amid which something happens; whether it told of an error."""
    fault = At(sent=chance.randrange(1, _size(files)), act=act)
    told = False
    with contextlib.suppress(AifaError):
        told = True
        pair.copy(fault)
        told = False
    assert fault.done
    _require_whole(pair, files)
    return told


def _run_out(  # noqa: PLR0917 - what, and what is to be said of it
    pair: Pair,
    chance: random.Random,
    figures: Figures,
    squeezed: Callable[[int], AbstractContextManager[None]],
    cause: str,
    step: str,
) -> None:
    """Copies that have too little room, and then enough."""
    files = pair.fill()
    total, worst = _size(files), 0
    for _ in range(pair.rounds):
        pair.forget()
        room = chance.randrange(2**20, total - _SPARE)
        with squeezed(room), pytest.raises(AifaError, match=cause) as caught:
            pair.copy()
        assert step in caught.value.hint
        _require_whole(pair, files)
        # What had no room could not be kept, and neither could the parts that were under way.
        worst = max(worst, pair.copy().bytes_sent - (total - room))
        assert (files, set()) == (pair.visible(), pair.unfinished())
    figures(ran_out=pair.rounds, parts_twice=round(worst / pair.part, 2), lanes=pair.lanes)
    assert worst <= pair.lanes * pair.part + _TALK


def _left(pair: Pair) -> set[str]:
    """What is at the target that nobody sees; all of it is found as ``gc`` finds it."""
    end = time.monotonic() + _PATIENCE_SECONDS
    with pair.open_target() as place, Ledger(pair.folder / "gc.sqlite") as ledger:
        while True:
            # Whoever was killed may have asked for something that is still done over there.
            left = pair.unfinished()
            if place.kind() == "absent":
                found = set()
            else:
                found = {_name(place, stray.partial.path, stray.partial.token) for stray in _strays(place, ledger)}
            if left == found or time.monotonic() > end:
                assert left == found
                return left


def _clean(pair: Pair, left: set[str]) -> int:
    """Removes that, as somebody does who still has the ledgers; how many there were."""
    if not left:
        return 0
    with pair.open_target() as place:
        for path in sorted(pair.folder.glob("*.sqlite")):
            with Ledger(path) as ledger:
                remove_strays(place, _strays(place, ledger), ledger=ledger)
    assert set() == pair.unfinished()
    return len(left)


def _strays(place: Endpoint, ledger: Ledger) -> list[Stray]:
    return find_strays(place, ledger=ledger, older=0, now=datetime.now(UTC))


def _name(place: Endpoint, path: str, token: str) -> str:
    return f"upload of {path}" if place.checks_md5 else partial_path(path, token)


def _arm(pair: Pair, cut: Cut | None) -> None:
    for link in pair.links:
        link.arm(cut)


def _passed(link: Proxy) -> tuple[int, int]:
    return link.passed("up"), link.passed("down")


@contextlib.contextmanager
def _resized(mount: Path, room: int) -> Iterator[None]:
    """A tmpfs with so much room left."""
    found = os.statvfs(mount)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize

    def resize(size: int) -> None:
        subprocess.run(("mount", "-o", f"remount,size={size}", str(mount)), check=True)

    resize(used + room)
    try:
        yield
    finally:
        resize(found.f_blocks * found.f_frsize)


def _closed(root: Path, change: str) -> None:
    """Whether folders take new names and give up old ones: even root is refused."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    subprocess.run(("chattr", change, *map(str, folders)), check=True)
