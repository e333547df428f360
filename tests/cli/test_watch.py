"""`aifa watch` where it cannot draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Aifa


def test_without_a_terminal_it_says_what_to_use(aifa: Aifa) -> None:
    """In a pipe or from cron; for machines as JSON."""
    for words in (("watch",), ("watch", "--json")):
        ran = aifa(*words)
        assert (2, "", True, True) == (ran.code, ran.out, "no" in ran.err, "aifa jobs --json" in ran.err), ran.err
