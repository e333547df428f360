"""Images for another machine: read from headers built here, known by name, and asked of a real shell."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifa_hpc.command import Command, Completed, drive
from aifa_hpc.jobs.check import check
from aifa_hpc.jobs.image import HEAD, gpu_software_of, head_problems, images_of, machine_of, read_head
from aifa_hpc.jobs.spec import Container, Job, Launch, Resources
from aifa_hpc.sites.load import load_site

NOWHERE = Path("/nonexistent")
LUMI = load_site("lumi", NOWHERE)
JUPITER = load_site("jupiter", NOWHERE)
RESOURCES = {
    "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001"},
    "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "jureap59"},
}
FOLDERS = {"lumi": "/scratch/project_465000001", "jupiter": "/e/project1/aif"}


def sif(arch: bytes) -> bytes:
    """The beginning of a SIF file, as its specification lays it out."""
    return b"#!/usr/bin/env run-singularity\n\0" + b"SIF_MAGIC\0" + b"01\0" + arch + b"\0" + bytes(80)


def sif_with(*objects: tuple[int, bytes], arch: bytes = b"02", begin: int = 4096) -> bytes:
    """The beginning of a SIF file with data objects: descriptors of 585 bytes, then data from 32 KiB on."""
    head = (sif(arch)[:48] + bytes(16 + 24)).ljust(88) + struct.pack("<qq", 48, begin)
    head = head.ljust(begin, b"\0")
    data = b""
    for number, (kind, text) in enumerate(objects, start=1):
        place = 32768 + len(data)
        row = struct.pack("<i?3I3q", kind, True, number, 0xF0000001, 0, place, len(text), len(text))
        head += row.ljust(585, b"\0")
        data += text
    return head.ljust(32768, b"\0") + data


def elf(machine: int, *, big: bool = False) -> bytes:
    """The beginning of an ELF file: 16 bytes of identification, type, machine."""
    ident = b"\x7fELF" + bytes([2, 2 if big else 1, 1]) + bytes(9)
    return ident + struct.pack(">HH" if big else "<HH", 2, machine) + bytes(40)


def job(site: str, image: str, **more: dict[str, str]) -> Job:
    """A job on whole GPU nodes in an image."""
    container = Container(image=f"{FOLDERS[site]}/{image}")
    launch = Launch(command=["true"])
    return Job(name="a", resources=Resources(time="1", **RESOURCES[site]), launch=launch, container=container, **more)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (sif(b"02"), "x86_64"),
        (sif(b"04"), "aarch64"),
        (sif(b"06"), "ppc64le"),
        (sif(b"99"), ""),
        (sif(b"04")[:46], ""),
        (sif(b"04").replace(b"SIF_MAGIC", b"SIF_MAGIX"), ""),
        (elf(62), "x86_64"),
        (elf(183), "aarch64"),
        (elf(21, big=True), "ppc64"),
        (elf(62)[:19], ""),
        (elf(1), ""),
        (b"hsqs" + bytes(60), ""),
        (b"", ""),
    ],
)
def test_headers_name_the_machine(head: bytes, expected: str) -> None:
    """SIF and ELF tell; a file system without a header, another code and a short file do not."""
    assert expected == machine_of(head)


def test_a_real_program_names_this_machine() -> None:
    """The running Python is an ELF file for the processor it runs on."""
    with Path(sys.executable).resolve().open("rb") as file:
        head = file.read(HEAD)
    assert subprocess.check_output(["uname", "-m"], text=True).strip() == machine_of(head)


@given(st.binary(max_size=2000))
def test_any_bytes_are_read(head: bytes) -> None:
    """Nothing that a file may begin with is an error, nor what may stand in the table of a SIF."""
    assert machine_of(head) in {"", "386", "x86_64", "arm", "aarch64", "ppc64", "ppc64le"}
    assert {"", "cuda", "rocm"} >= {gpu_software_of(head), gpu_software_of(sif(b"04")[:88] + head)}


DEFFILE, VARIABLES, LABELS, PARTITION, JSON = 0x4001, 0x4002, 0x4003, 0x4004, 0x4006


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([(DEFFILE, b"bootstrap: docker\nfrom: nvcr.io/nvidia/pytorch:25.01-py3\n")], "cuda"),
        ([(DEFFILE, b"bootstrap: docker\nfrom: rocm/pytorch:latest\n")], "rocm"),
        ([(DEFFILE, b"x"), (JSON, b'{"Env": ["CUDA_VERSION=12.6.3.004"]}'), (PARTITION, b"hsqs")], "cuda"),
        ([(JSON, b'{"Env": ["ROCM_PATH=/opt/rocm"]}')], "rocm"),
        ([(LABELS, b'{"com.nvidia.cudnn.version": "9.6.0"}')], "cuda"),
        ([(VARIABLES, b"ROCM_VERSION=7.0")], "rocm"),
        ([(DEFFILE, b"from: ubuntu:24.04\n%post\n pip install torch\n")], ""),
        ([(DEFFILE, b"from: rocm/pytorch\n# not nvcr.io/nvidia/pytorch\n")], ""),
        ([(PARTITION, b"NVIDIA_REQUIRE_CUDA")], ""),
        ([], ""),
    ],
)
def test_texts_in_an_image_name_the_gpus(objects: list[tuple[int, bytes]], expected: str) -> None:
    """Definition file, variables, labels and JSON tell; the file system, other words and words for both do not."""
    assert expected == gpu_software_of(sif_with(*objects))


def test_an_image_for_other_gpus_is_refused_by_its_own_texts() -> None:
    """The right processor and the wrong maker's GPUs, whatever the image is called."""
    partition = LUMI.partitions["standard-g"]
    head = sif_with((DEFFILE, b"from: nvcr.io/nvidia/pytorch\n"))
    (problem,) = head_problems(job("lumi", "mine.sif"), LUMI, partition, head)
    assert ("texts in the image itself", True) == (problem.source, "is an image for CUDA" in problem.rule)
    rocm = sif_with((DEFFILE, b"from: rocm/pytorch\n"))
    assert [] == list(head_problems(job("lumi", "mine.sif"), LUMI, partition, rocm))


@pytest.mark.parametrize(
    ("site", "image", "words"),
    [
        ("jupiter", "lumi-multitorch-full-u24r70f21m50t210-20260415_130625.sif", ["ROCM"]),
        ("jupiter", "pytorch-rocm.sif", ["ROCM"]),
        ("jupiter", "pytorch_x86_64.sif", ["x86_64"]),
        ("jupiter", "pytorch-amd64.sif", ["x86_64"]),
        ("jupiter", "pytorch_aarch64_2026.sif", []),
        ("jupiter", "mine.sif", []),
        ("lumi", "lumi-multitorch-full-u24r70f21m50t210-20260415_130625.sif", []),
        ("lumi", "pytorch_aarch64.sif", ["aarch64"]),
        ("lumi", "ngc-pytorch.sif", ["CUDA"]),
        ("lumi", "cuda-arm64.sif", ["CUDA", "aarch64"]),
        ("lumi", "mine.sif", []),
    ],
)
def test_names_of_images_are_judged(site: str, image: str, words: list[str]) -> None:
    """An image whose name says that it is for the other machine is refused, with what is wrong about it."""
    found = check(job(site, image), load_site(site, NOWHERE))
    assert ["container.image"] * len(words) == [problem.key for problem in found]
    assert words == [next(word for word in words if f"image for {word}" in problem.rule) for problem in found]
    assert {"error"} >= {problem.severity for problem in found}


def test_cuda_is_right_where_there_is_nvidia() -> None:
    """LUMI's visualisation nodes have NVIDIA GPUs."""
    asked = Resources(time="1", partition="lumid", gpus_per_node=1, account="project_465000001")
    made = Job(
        name="a", resources=asked, launch=Launch(command=["true"]), container=Container(image="/scratch/cuda.sif")
    )
    assert () == check(made, LUMI)


def test_what_does_harm_in_an_image_is_told() -> None:
    """NCCL_NET_GDR_LEVEL is a warning with ROCm 7 images of LUMI, and nothing with others."""
    env = {"NCCL_NET_GDR_LEVEL": "3"}
    (problem,) = check(job("lumi", "lumi-multitorch-full-u24r72f21m50t211-20260929_104918.sif", env=env), LUMI)
    assert ("env.NCCL_NET_GDR_LEVEL", "3", "warning") == (problem.key, problem.value, problem.severity)
    assert () == check(job("lumi", "lumi-multitorch-full-u24r64f21m43t29-20260225_144743.sif", env=env), LUMI)


def test_images_are_known_by_their_name_alone() -> None:
    """Folders do not count, and a job without a container has no image."""
    assert {} == images_of(job("jupiter", "rocm-x86_64/mine.sif"), JUPITER)
    plain = Job(name="a", resources=Resources(time="1"), launch=Launch(command=["true"]))
    assert {} == images_of(plain, JUPITER)


def test_a_header_is_judged_by_the_partition() -> None:
    """The image's own header refuses it where nodes are of another kind; one that tells nothing is let through."""
    partition = JUPITER.partitions["booster"]
    made = job("jupiter", "mine.sif")
    (problem,) = head_problems(made, JUPITER, partition, sif(b"02"))
    assert ("container.image", "error") == (problem.key, problem.severity)
    assert [[], []] == [list(head_problems(made, JUPITER, partition, head)) for head in (sif(b"04"), b"")]


@pytest.mark.parametrize("name", ["plain.sif", "it's $(a) name.sif", "-n"])
def test_heads_are_read_by_a_shell(tmp_path: Path, name: str) -> None:
    """Of a file its first bytes, of a folder those of its shell, of nothing none."""
    image = tmp_path / name
    image.write_bytes(sif(b"04"))
    unpacked = tmp_path / "unpacked"
    (unpacked / "bin").mkdir(parents=True)
    (unpacked / "bin" / "sh").write_bytes(elf(183))
    heads = [drive(read_head(str(path)), _run) for path in (image, unpacked, tmp_path / "none")]
    assert [sif(b"04")[:HEAD], elf(183)[:HEAD], b""] == heads


def _run(command: Command) -> Completed:
    done = subprocess.run(command.argv, capture_output=True, check=False)
    return Completed(
        command=command, exit_code=done.returncode, stdout=b"Welcome!\r\n" + done.stdout, stderr=done.stderr
    )
