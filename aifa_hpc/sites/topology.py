"""Which cores lie beside which GPU: CPU lists, masks, and the binding option that puts rank i beside GPU i.

On a LUMI-G node the GPU numbers do not follow the core numbers: GPU 0 lies beside cores 48-55, GPU 4 beside 0-7. A rank
that runs on other cores than its GPU's crosses the node for every copy. So Slurm is given one mask for each local rank,
in the order of the GPUs: bit c of a mask stands for core c (srun(1), ``--cpu-bind=mask_cpu:``). The cores come from the
site's profile, which names their source; for LUMI that is the table in LUMI training materials,
2day-20260422/202-Binding.md, whose masks are ``0xfe << 8 * CCD``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError, ParseError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aifa_hpc.sites.model import NodeType

_RANGE = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_MOST_CPUS = 8192  # the most that Linux can be built for (CONFIG_NR_CPUS of x86 and arm64)


def parse_cpus(text: str) -> tuple[int, ...]:
    """Reads a CPU list as the kernel writes it (``49-55,57``); the result is sorted and holds each core once.

    Raises:
        ParseError: Not numbers and ranges, a range that runs backwards, or a core number no machine has.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ParseError(f'{text!r} is not a CPU list: write numbers and ranges, for example "49-55,57"')
        first = int(match[1])
        last = int(match[2] or first)
        if last < first:
            raise ParseError(f"{text!r} is not a CPU list: {part.strip()} runs backwards, write {last}-{first}")
        if last >= _MOST_CPUS:
            raise ParseError(
                f"{text!r} is not a CPU list: core {last} is beyond {_MOST_CPUS - 1}, the highest possible"
            )
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))


def format_cpus(cpus: Iterable[int]) -> str:
    """Writes cores as the shortest CPU list; the inverse of :func:`parse_cpus`."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)


def cpu_mask(cpus: str | Iterable[int]) -> int:
    """The affinity mask of some cores: bit c is core c.

    Args:
        cpus: A CPU list or core numbers; ``cpu_mask("49-55") == 0xfe000000000000``.

    Raises:
        ParseError: The text is not a CPU list.
    """
    numbers = parse_cpus(cpus) if isinstance(cpus, str) else cpus
    return sum(1 << cpu for cpu in set(numbers))


def mask_cpus(mask: int) -> tuple[int, ...]:
    """The cores of a mask; the inverse of :func:`cpu_mask`."""
    return tuple(cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1)


def mask_option(node_type: NodeType, cpus_per_task: int, tasks_per_node: int) -> str:
    """The value of ``--cpu-bind`` that puts local rank i on the first cores beside GPU i.

    Masks hold only on whole nodes: on a shared one a job gets other cores.

    Args:
        node_type: The nodes; its ``gpu_cpus`` are in the order of local ranks.
        cpus_per_task: Cores of each rank; fewer than lie beside a GPU are its first ones.
        tasks_per_node: Ranks on each node, one for each of the first GPUs.

    Returns:
        ``mask_cpu:0x...,0x...``, one mask for each rank.

    Raises:
        InputError: More ranks than GPUs, more cores than lie beside a GPU, or no cores known.
    """
    rows = [parse_cpus(cpus) for cpus in node_type.gpu_cpus]
    problems = []
    if not 1 <= tasks_per_node <= len(rows):
        problems.append(
            Problem(
                key="tasks_per_node",
                value=str(tasks_per_node),
                rule=f"binding by masks needs one task for each GPU, and the cores beside {len(rows)} GPUs are known"
                if rows
                else "binding by masks needs the cores beside each GPU, which this node type does not have",
                nearest=str(min(max(tasks_per_node, 1), len(rows))) if rows else "",
                source=node_type.source,
            )
        )
    most = min((len(row) for row in rows[: max(tasks_per_node, 1)]), default=0)
    if rows and not 1 <= cpus_per_task <= most:
        problems.append(
            Problem(
                key="cpus_per_task",
                value=str(cpus_per_task),
                rule=f"{most} usable cores lie beside each GPU",
                nearest=str(min(max(cpus_per_task, 1), most)),
                source=node_type.source,
            )
        )
    if problems:
        raise InputError("tasks cannot be bound to the cores beside their GPUs:", problems=problems)
    return "mask_cpu:" + ",".join(f"{cpu_mask(row[:cpus_per_task]):#x}" for row in rows[:tasks_per_node])
