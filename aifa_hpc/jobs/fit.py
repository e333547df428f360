"""A job on the nodes of its partition: the tasks, cores and binding that follow from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import LaunchShape, NodeType, Partition, Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What checking and rendering must agree on.

    Attributes:
        job: As the user wrote it.
        site: Where it is to run; it has the job's launch kind.
        partition: Of that site.
    """

    job: Job
    site: Site
    partition: Partition

    @property
    def node(self) -> NodeType:
        """The usual node of the partition."""
        return self.site.nodes[self.partition.node]

    @property
    def shape(self) -> LaunchShape:
        """How the site wants the launch kind."""
        return self.site.launch[self.job.launch.kind]

    @property
    def tasks(self) -> int:
        """Tasks on each node: as asked for, else one for each GPU where the site wants that, else one."""
        asked = self.job.resources
        return asked.tasks_per_node or max(1, asked.gpus_per_node * self.shape.tasks_per_gpu)

    @property
    def cpus(self) -> int:
        """Cores of a task: its part of the node, or, where nodes are shared, of the slices that come with its GPUs."""
        asked = self.job.resources
        if asked.cpus_per_task is not None:
            return asked.cpus_per_task
        if self.partition.whole_node:
            return max(1, self.node.usable_cpus // self.tasks)
        if self.node.gpus:
            return max(1, self.node.usable_cpus // self.node.gpus * asked.gpus_per_node // self.tasks)
        return 1

    @property
    def one_gpu_per_task(self) -> bool:
        """Each task has a GPU of its own."""
        return 0 < self.job.resources.gpus_per_node == self.tasks

    @property
    def masks(self) -> bool:
        """Masks hold: they name cores of a whole node, and reach only the cores beside the GPU."""
        node = self.node
        whole = self.partition.whole_node and self.one_gpu_per_task and self.tasks == node.gpus
        return self.shape.bind == "masks" and whole and self.cpus <= node.usable_cpus // node.gpus
