"""The transport to the embedded scheduler: local commands that find its ``sbatch``, ``squeue``, ... first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError
from aifa_hpc.sites.load import load_site
from aifa_hpc.transport.base import Channel, ProcessChannel, Transport
from aifa_hpc.transport.local import run_process

from .settings import NOTICE, Limits, Settings, save_settings

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.command import Command, Completed
    from aifa_hpc.sites.model import Partition, Site

_LOOPBACK_HOSTS = 254
"""Nodes are called ``127.0.0.1`` to ``127.0.0.254``: names that reach this machine on any Linux."""


class EmbeddedTransport(Transport):
    """Runs commands here, with a scheduler of our own in the place of Slurm.

    Jobs outlive the transport and this process; a transport with the same root finds them again. The settings of the
    last one that was made hold for all that follows in that root.

    Args:
        root: Folder for the scheduler's state; made with mode 0700.
        site: Its partitions and limits; the packaged profile ``local`` by default.
        slots: Most jobs at once; the number of cores by default.
        kill_wait: Seconds between SIGTERM and SIGKILL for a job that is ended.
        minute: Seconds that a minute of walltime lasts. Limits are whole minutes, as in Slurm; tests make them short.
        remember: Seconds that ``squeue`` knows a job that ended.

    Raises:
        InputError: The root cannot be part of a ``PATH``, or a number is not above zero.
    """

    NOTICE = NOTICE

    def __init__(
        self,
        root: Path,
        site: Site | None = None,
        *,
        slots: int | None = None,
        kill_wait: float = 30.0,
        minute: float = 60.0,
        remember: float = 300.0,
    ) -> None:
        path = str(root.absolute())
        if ":" in path or "\n" in path:
            raise InputError(f"root = {path!r}: a colon or a line break cannot be in a folder on PATH; choose another")
        if min(1 if slots is None else slots, kill_wait, minute, remember) <= 0:
            raise InputError("slots, kill_wait, minute and remember must be above 0")
        site = site or load_site("local")
        self.settings = Settings(
            root=path,
            cluster=site.scheduler.cluster_name,
            partitions={name: _limits(site, partition) for name, partition in site.partitions.items()},
            default_partition=site.scheduler.default_partition or "",
            slots=slots or os.cpu_count() or 1,
            kill_wait=kill_wait,
            minute=minute,
            max_array_size=site.scheduler.max_array_size or 1001,
            remember=remember,
        )
        save_settings(self.settings)

    def run(self, command: Command) -> Completed:
        return run_process(command, command.argv, env=self._env())

    def open(self, command: Command) -> Channel:
        return ProcessChannel(command.argv, env=self._env(), first=command.stdin)

    def _env(self) -> dict[str, str]:
        return os.environ | {"PATH": f"{self.settings.bin}:{os.environ.get('PATH', os.defpath)}"}


def _limits(site: Site, partition: Partition) -> Limits:
    count = min(partition.nodes, _LOOPBACK_HOSTS)
    return Limits(
        hosts=tuple(f"127.0.0.{number}" for number in range(1, count + 1)),
        cpus=site.nodes[partition.node].cpus,
        max_time=partition.max_time.seconds,
        default_time=partition.default_time.seconds if partition.default_time else None,
        max_nodes=partition.max_nodes or partition.nodes,
        whole_node=partition.whole_node,
    )
