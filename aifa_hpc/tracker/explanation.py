"""What an explanation of a job is: findings, each with its evidence, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aifa_hpc.slurm.reasons import Hope

Weight: TypeAlias = Literal["cause", "sign", "note"]
"""``cause``: it explains the state by itself. ``sign``: it goes with it, and may have another cause. ``note``: worth
knowing, and no fault."""

_WEIGHTS: tuple[Weight, ...] = ("cause", "sign", "note")
_HOPES: tuple[Hope, ...] = ("waits", "unclear", "person", "never")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was found, and nothing beyond what its evidence says.

    Attributes:
        name: For machines: ``gpu-memory``, ``dependency``.
        text: A sentence without a final stop.
        action: What to do next; empty where there is nothing to do.
        evidence: What was seen, as it was printed.
        origin: Who printed it: a program, or the path of a log.
        weight: How much it explains.
        hope: For a job that waits: whether waiting helps against this.
        source: Where the knowledge comes from.
    """

    name: str
    text: str
    action: str = ""
    evidence: str = ""
    origin: str = ""
    weight: Weight = "cause"
    hope: Hope = "waits"
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a job stands among those that wait for its partition, by priority; an array counts once.

    Attributes:
        ahead: Jobs with a higher priority.
        of: All jobs that wait there and are not held.
        own_ahead: Those of the higher ones that are the user's own.
        partition: Where.
    """

    ahead: int
    of: int
    own_ahead: int
    partition: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a job is as it is.

    Attributes:
        id: Slurm's id, if it has one.
        token: Its token.
        name: As the user named it.
        site: Where.
        state: Its state.
        findings: What was found, causes first.
        position: Place in the queue, where the site tells it.
        expected_start: Slurm's own estimate for a job that waits, on the site's clock; no promise.
        log: Path of the log that :attr:`tail` is from.
        tail: Its last lines.
        silent: Why a program told nothing, by its section.
        waits: Whether it waits in the queue.
    """

    id: str | None
    token: str
    name: str
    site: str
    state: str
    findings: tuple[Finding, ...]
    position: Position | None = None
    expected_start: str = ""
    log: str = ""
    tail: tuple[str, ...] = ()
    silent: Mapping[str, str]
    waits: bool = False

    @property
    def hope(self) -> Hope | None:
        """Whether waiting helps, by the worst finding; ``None`` for a job that does not wait."""
        hopes = (found.hope for found in self.findings)
        return max(hopes, key=_HOPES.index, default="waits") if self.waits else None

    @property
    def hopeless(self) -> bool:
        """It waits, and will never start as it is."""
        return self.hope == "never"


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """Causes first, then signs, then notes; each only once."""
    seen: dict[tuple[str, str], Finding] = {}
    for found in sorted(findings, key=lambda one: _WEIGHTS.index(one.weight)):
        seen.setdefault((found.name, found.text), found)
    return tuple(seen.values())
