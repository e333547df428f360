"""Which machine an image is for: read from its first bytes or known by its name, and what a site says against it.

A Singularity image (SIF) begins with a launch script of 32 bytes, a magic of 10, its version and the code of its
processor, 3 bytes each (package ``sif`` of Sylabs and Apptainer, ``pkg/sif/sif.go`` and ``arch.go``). Descriptors of
585 bytes follow, and the texts they point to lie before the file system: the definition file, labels, and what the
image was built from as JSON. There, ROCm's and CUDA's own images and those built on them leave their marks. An unpacked
image is a folder, so a program in it is read: an ELF file names its machine at byte 18 (elf(5), ``e_machine``).
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from aifa_hpc.command import Flow, shell
from aifa_hpc.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.jobs.spec import Job
    from aifa_hpc.sites.model import Image, NodeType, Partition, Site

HEAD = 1 << 16
"""Bytes at the beginning of a file that are looked at: the texts of a SIF begin at 32 KiB."""

_SIF_MAGIC = slice(32, 42)
_SIF_ARCH = slice(45, 47)
_SIF_MACHINES = {b"01": "386", b"02": "x86_64", b"03": "arm", b"04": "aarch64", b"05": "ppc64", b"06": "ppc64le"}
_SIF_TABLE = struct.Struct("<qq")  # at byte 88: number of descriptors, and where they begin
_SIF_TABLE_AT = 88
_SIF_DESCRIPTOR = struct.Struct("<i?3I2q")  # type, used, three ids, offset and size
_SIF_DESCRIPTOR_BYTES = 585
_SIF_DESCRIPTORS = 48  # as many as Singularity and Apptainer make room for
_SIF_TEXTS = {0x4001, 0x4002, 0x4003, 0x4006}  # definition file, variables, labels, JSON
_ELF_MACHINE = slice(18, 20)
_ELF_MACHINES = {3: "386", 21: "ppc64", 40: "arm", 62: "x86_64", 183: "aarch64"}
_BIG_ENDIAN = 2  # elf(5), EI_DATA at byte 5: ELFDATA2MSB
_GPU_SOFTWARE = {"AMD": "rocm", "NVIDIA": "cuda"}
# Variables and labels of the makers' own images, and their names.
_MARKS = {
    "cuda": re.compile(rb"NVIDIA_REQUIRE_CUDA|\bCUDA_VERSION\b|com\.nvidia\.|nvcr\.io/nvidia/|\bnvidia/cuda\b"),
    "rocm": re.compile(rb"\bROCM_(?:PATH|VERSION)\b|\brocm/[a-z]|repo\.radeon\.com|/opt/rocm"),
}


def machine_of(head: bytes) -> str:
    """The processor a SIF image or an ELF program is for.

    Args:
        head: The first :data:`HEAD` bytes of the file; fewer tell less.

    Returns:
        ``x86_64``, ``aarch64`` or another name; empty when the bytes do not tell.
    """
    if head[_SIF_MAGIC] == b"SIF_MAGIC\0":
        return _SIF_MACHINES.get(head[_SIF_ARCH], "")
    if head.startswith(b"\x7fELF") and len(head) >= _ELF_MACHINE.stop:
        order = "big" if head[5] == _BIG_ENDIAN else "little"
        return _ELF_MACHINES.get(int.from_bytes(head[_ELF_MACHINE], order), "")  # type: ignore[arg-type] # one of two
    return ""


def gpu_software_of(head: bytes) -> str:
    """Whose GPUs a SIF image is for.

    Args:
        head: The first :data:`HEAD` bytes of the file; fewer tell less.

    Returns:
        ``rocm`` or ``cuda``; empty when the texts in the image tell of neither, or of both.
    """
    texts = b"\n".join(_texts(head))
    found = [name for name, mark in _MARKS.items() if mark.search(texts)]
    return found[0] if len(found) == 1 else ""


def _texts(head: bytes) -> Iterator[bytes]:
    """The texts in a SIF image that lie before its file system."""
    if head[_SIF_MAGIC] != b"SIF_MAGIC\0" or len(head) < _SIF_TABLE_AT + _SIF_TABLE.size:
        return
    total, begin = _SIF_TABLE.unpack_from(head, _SIF_TABLE_AT)
    for number in range(min(total, _SIF_DESCRIPTORS)):
        at = begin + number * _SIF_DESCRIPTOR_BYTES
        if not 0 <= at <= len(head) - _SIF_DESCRIPTOR.size:
            return
        kind, used, _, _, _, offset, size = _SIF_DESCRIPTOR.unpack_from(head, at)
        if used and kind in _SIF_TEXTS and offset > 0 and size > 0:
            yield head[offset : offset + size]


def images_of(job: Job, site: Site) -> dict[str, Image]:
    """What the site's profile knows of the job's image, by key; several may tell something each."""
    if job.container is None:
        return {}
    name = job.container.image.rsplit("/", 1)[-1]
    return {key: image for key, image in site.images.items() if re.search(image.pattern, name)}


def image_problems(job: Job, site: Site, partition: Partition) -> Iterator[Problem]:
    """Images for another processor or another maker's GPUs, and variables that do harm in this one."""
    if job.container is None:
        return
    node = site.nodes[partition.node]
    for key, image in images_of(job, site).items():
        source = f"{image.source}; profile {site.name}, images.{key}"
        if image.arch and image.arch != node.arch:
            yield _wrong_machine(job.container.image, image.arch, node, source)
        yield from _wrong_gpu(job.container.image, image.gpu, node, source)
        for variable in image.avoid:
            if variable in job.env:
                rule = f"does harm in this image ({image.versions}): {image.note}"
                value = job.env[variable]
                yield Problem(key=f"env.{variable}", value=value, rule=rule, source=source, severity="warning")


def head_problems(job: Job, site: Site, partition: Partition, head: bytes) -> Iterator[Problem]:
    """An image whose own first bytes name another processor, or another maker's GPUs, than the partition's nodes have.

    Args:
        job: It runs in a container.
        site: Where it is to run.
        partition: Of that site.
        head: The first :data:`HEAD` bytes of its image, or of a program in it.
    """
    node, machine = site.nodes[partition.node], machine_of(head)
    if job.container is not None and machine and machine != node.arch:
        yield _wrong_machine(job.container.image, machine, node, "the file's own header")
    if job.container is not None:
        yield from _wrong_gpu(job.container.image, gpu_software_of(head), node, "texts in the image itself")


def read_head(image: str) -> Flow[bytes]:
    """Reads the first :data:`HEAD` bytes of an image, or of the shell in an unpacked one; none when it cannot.

    Args:
        image: Path on the site.
    """
    script = """file=$1; [ -d "$file" ] && file=$file/bin/sh
        bytes=$(head -c "$2" -- "$file" 2>/dev/null | od -An -v -tx1 | tr -d ' \\n')
        echo "aifa: image $bytes"
        """
    completed = yield shell(script, image, str(HEAD), idempotent=True)
    found = re.findall(r"^aifa: image ((?:[0-9a-f]{2})*)\r?$", completed.out, re.MULTILINE)
    return bytes.fromhex(found[-1]) if found else b""


def _wrong_gpu(image: str, software: str, node: NodeType, source: str) -> Iterator[Problem]:
    wanted = _GPU_SOFTWARE.get(node.gpu_model.partition(" ")[0], "")
    if software and wanted and software != wanted:
        rule = f"is an image for {software.upper()}, and nodes of this partition have {node.gpu_model}"
        nearest = f"an image with {wanted.upper()}"
        yield Problem(key="container.image", value=image, rule=rule, nearest=nearest, source=source)


def _wrong_machine(image: str, machine: str, node: NodeType, source: str) -> Problem:
    rule = f"is an image for {machine}, and nodes of this partition are {node.arch}: nothing in it would start"
    return Problem(
        key="container.image", value=image, rule=rule, nearest=f"an image built for {node.arch}", source=source
    )
