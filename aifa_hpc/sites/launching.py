"""How programs start on a site: launch kinds, modules, containers and their images, and environment variables."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from aifa_hpc.sites.facts import Count, Fact

LaunchKind: TypeAlias = Literal["command", "srun", "mpi", "torchrun", "ray", "dask", "interactive"]
KINDS: tuple[LaunchKind, ...] = get_args(LaunchKind)


class Modules(Fact, frozen=True, kw_only=True):
    """Environment modules a job starts with, in the order purge, use, load."""

    purge: bool = False
    use: tuple[str, ...] = ()
    load: tuple[str, ...] = ()


class ContainerRuntime(Fact, frozen=True, kw_only=True):
    """How the site runs a container.

    Attributes:
        runtime: Program name.
        run: Words before the image.
        images: Folder of images the site keeps, empty when there is none.
        bind: Binds that are always needed.
        modules: What to load before, on top of the site's modules.
        forward_env: Prefix that carries a variable into the container (``APPTAINERENV_``).
    """

    runtime: str
    run: tuple[str, ...]
    images: str = ""
    bind: tuple[str, ...] = ()
    modules: Modules | None = None
    forward_env: str = ""


class Image(Fact, frozen=True, kw_only=True):
    """What is known of images whose file name looks a certain way: for whom they are, and what holds only for them.

    Attributes:
        pattern: Regular expression that is searched for in the file's name.
        arch: Processor they are for, as :attr:`NodeType.arch`; empty says nothing.
        gpu: GPU software in them; empty says nothing.
        versions: What is in them, for a person to read.
        variables: Values that take the place of the site's presets in jobs that run in such an image.
        avoid: Variables that do harm in such an image.
        torchrun: Words that torchrun takes in such an image, on whole nodes.
    """

    pattern: str
    arch: Literal["", "x86_64", "aarch64"] = ""
    gpu: Literal["", "rocm", "cuda"] = ""
    versions: str = ""
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    avoid: tuple[str, ...] = ()
    torchrun: tuple[str, ...] = ()


class Variable(Fact, frozen=True, kw_only=True):
    """An environment variable the site wants; the user's own value wins.

    Attributes:
        value: As the shell takes it between double quotes, so ``$SLURM_JOB_ID`` is expanded in the job.
        kinds: Launch kinds it applies to; by default all.
        gpu_only: Only on nodes with GPUs.
        container_only: Only where the job runs in a container.
        per_task: Set inside each task, on its own node, instead of in the batch script.
        folder: The value is a folder that must exist: made (mode 0700) where the variable is set.
    """

    value: str
    kinds: tuple[LaunchKind, ...] = KINDS
    gpu_only: bool = True
    container_only: bool = False
    per_task: bool = False
    folder: bool = False


class LaunchShape(Fact, frozen=True, kw_only=True):
    """How the site wants one launch kind.

    Attributes:
        options: Words after ``srun``.
        bind: ``masks`` binds local rank i to the cores beside GPU i (whole nodes only), ``none`` adds nothing.
        gpu_variable: Variable that hands local rank i its GPU i; empty leaves visibility alone.
        tasks_per_gpu: Tasks for each GPU; 0 is one task for each node.
        join_seconds: Longest time that the daemons of an engine (Ray, Dask) may take to find each other.
        master_addr: POSIX shell script, run as ``sh -c SCRIPT NAME HOST``, that prints the rendezvous address of the
            host name in ``$1`` and fails when there is none; empty means that the host name itself is the address.
    """

    options: tuple[str, ...] = ()
    bind: Literal["masks", "none"] = "none"
    gpu_variable: str = ""
    tasks_per_gpu: Count = 0
    join_seconds: Count = 300
    master_addr: str = ""
