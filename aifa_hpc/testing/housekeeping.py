"""What staging asks of an endpoint beside copying, as a pytest class to inherit from, with the same ``place``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aifa_hpc.manifest import BLOCK
from aifa_hpc.staging.geometry import cut
from aifa_hpc.staging.model import Loan
from aifa_hpc.testing.endpoints import some_bytes, sum_of

if TYPE_CHECKING:
    from aifa_hpc.testing.endpoints import Place


class HousekeepingContract:
    """Tests of finding what was left, removing, and borrowing parts from what is there."""

    def test_what_was_not_finished_is_found_below(self, place: Place) -> None:
        """In any folder, with its time; published files are none of it."""
        place.put("a", b"12345")
        with place.endpoint() as endpoint:
            made = endpoint.begin("x/y/big", 2 * BLOCK, "f" * 16 + "-12345678")
            found = list(endpoint.strays())
        assert [("x/y/big", made.token)] == [(one.path, one.token) for one in found]
        assert 0 < found[0].mtime_ns <= time.time_ns()

    def test_published_files_are_removed_by_name(self, place: Place) -> None:
        """Those alone, and twice is harmless."""
        for path in ("a", "x/b", "x/c"):
            place.put(path, b"12345")
        with place.endpoint() as endpoint:
            for _ in range(2):
                endpoint.remove(["a", "x/b"])
        assert {"x/c"} == place.names()

    def test_a_part_that_is_there_is_borrowed_or_refused(self, place: Place) -> None:
        """From a published file; what does not hold what it should is refused, and so is what is not there."""
        with place.endpoint() as endpoint:
            size = endpoint.limits.part
            data = some_bytes(2 * size)
            place.put("old", b"x" * BLOCK + data)
            parts = cut(2 * size, size)
            partial = endpoint.begin("new", 2 * size, "f" * 16 + "-12345678")
            wanted = sum_of(data[size:], md5=False)
            loans = [
                Loan(part=parts[1], path="old", offset=BLOCK + size, sum=wanted),
                Loan(part=parts[0], path="old", offset=BLOCK + size, sum=sum_of(data[:size], md5=False)),
                Loan(part=parts[0], path="gone", offset=0, sum=wanted),
            ]
            lent = endpoint.borrow(partial, loans)
            if not endpoint.lends:
                assert lent == [False, False, False]
                return
            [held] = endpoint.partial_sums(endpoint.partials([""])[0], [parts[1]])
        assert ([True, False, False], wanted.blocks) == (lent, held.blocks)
