"""What lines of a log mean: reads the table of patterns, and a log by it.

The first line that a pattern is found in is its evidence, because what happens first causes what happens later.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from aifa_hpc.tracker.explanation import Finding, Weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of line, and what it means.

    Attributes:
        name: Of the finding.
        match: Regular expressions, one of which is found in the line.
        text: What it means; ``{1}`` is the first group.
        source: Where the message comes from.
        action: What to do.
        weight: How much it explains.
        clusters: Slurm's names of the clusters it holds for; empty is all of them.
    """

    name: str
    match: tuple[str, ...]
    text: str
    source: str
    action: str = ""
    weight: Weight = "cause"
    clusters: tuple[str, ...] = ()

    def found(self, line: str) -> re.Match[str] | None:
        """Where it is in a line."""
        return next(filter(None, (re.search(one, line) for one in self.match)), None)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: tuple[Pattern, ...]


@cache
def load_patterns() -> tuple[Pattern, ...]:
    """The packaged patterns, in the order in which they are told."""
    return read_patterns(files("aifa_hpc.tracker").joinpath("failures.toml").read_text("utf-8"))


def read_patterns(text: str) -> tuple[Pattern, ...]:
    """The patterns of a table."""
    return msgspec.convert(tomllib.loads(text), _Table).pattern


_TRACEBACK = re.compile(r"^(?P<prefix>(?:\[[^\]]*\]:? ?|\d+: )?)Traceback \(most recent call last\):")
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_LONGEST = 400  # letters of a line that are shown
_READ = 2000  # letters at each end of a line that are read: a pattern may take the square of them


def read_log(path: str, lines: Sequence[str], cluster: str, patterns: Sequence[Pattern]) -> Iterator[Finding]:
    """What the lines of a log tell.

    Args:
        path: Of the log.
        lines: Its last lines.
        cluster: Slurm's name of the cluster.
        patterns: In the order in which they are told.
    """
    lines = [line if len(line) <= 2 * _READ else f"{line[:_READ]} {line[-_READ:]}" for line in lines]
    known = [pattern for pattern in patterns if not pattern.clusters or cluster in pattern.clusters]
    named: set[str] = set()
    for pattern in known:
        if pattern.name in named:
            continue
        hits = [(line, match) for line in lines if (match := pattern.found(line))]
        if hits:
            named.add(pattern.name)
            yield _finding(pattern, *hits[0], path, len(hits))
    last = last_of_traceback(lines)
    if last and not any(pattern.found(last) for pattern in known):
        yield Finding(
            name="exception",
            text="a Python program ended with an exception",
            action="the traceback in the log shows the line; frames of your own code are the place to look",
            evidence=last[:_LONGEST],
            origin=path,
            source="Python, module traceback",
        )


def _finding(pattern: Pattern, line: str, match: re.Match[str], path: str, count: int) -> Finding:
    group = next(filter(None, match.groups()), "")
    more = f" ({count} lines like it)" if count > 1 else ""
    return Finding(
        name=pattern.name,
        text=pattern.text.replace("{1}", group),
        action=pattern.action,
        evidence=f"{line.strip()[:_LONGEST]}{more}",
        origin=path,
        weight=pattern.weight,
        source=pattern.source,
    )


def last_of_traceback(lines: Sequence[str]) -> str:
    """The line that names the exception of the first traceback, or of the last one in its chain; empty for none."""
    found = ""
    for number, line in enumerate(lines):
        match = _TRACEBACK.match(line)
        if match is None:
            continue
        chained = any(word in before for before in lines[max(0, number - 3) : number] for word in _CHAINED)
        if found and not chained:
            break
        prefix = match["prefix"]
        inside = (one.removeprefix(prefix) for one in lines[number + 1 :] if one.startswith(prefix))
        found = next((one for one in inside if one and not one.startswith((" ", "\t"))), found)
    return found.strip()
