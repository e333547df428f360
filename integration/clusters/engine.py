"""Container engines: which one works here, and the image of the test clusters built with it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from integration.clusters.processes import run

SOURCE = Path(__file__).parents[2] / "containers" / "slurm"
BASE = "docker.io/library/debian:trixie-slim"
PACKAGES = ("numpy", "pyarrow")
_PYTHON = "3.13"  # of trixie
_SYS_RESOURCE = 24  # capability number, see capabilities(7)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A container engine that answers.

    Attributes:
        name: ``docker`` or ``podman``.
        argv: The program and the options that go before its commands.
    """

    name: str
    argv: tuple[str, ...]

    def __call__(self, *words: str, check: bool = True) -> str:
        """Runs one of its commands and returns what it prints."""
        return run(*self.argv, *words, check=check)


def find_engine() -> Engine | None:
    """Docker with a running engine, else podman; a docker client alone is none."""
    if _answers("docker", "version", "--format", "{{.Server.Version}}"):
        return Engine(name="docker", argv=("docker",))
    # runc copes with every layout of cgroups, crun refuses the hybrid one.
    argv = ("podman", "--runtime", "runc") if shutil.which("runc") else ("podman",)
    if _answers(*argv, "info"):
        return Engine(name="podman", argv=argv)
    return None


def _answers(*argv: str) -> bool:
    if shutil.which(argv[0]) is None:
        return False
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode == 0


def limits() -> tuple[str, ...]:
    """Resource limits to ask for where the defaults of the engine are more than this machine may give."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return ()
    fields = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines() if ":" in line)
    if os.geteuid() != 0 or int(fields["CapEff"], 16) >> _SYS_RESOURCE & 1:
        return ()
    return ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=8192:8192")


def image(engine: Engine) -> str:
    """The name of the clusters' image; it is built when these sources have not been built yet.

    Raises:
        RuntimeError: It cannot be built.
    """
    digest = hashlib.sha256()
    for name in ("Containerfile", "entrypoint"):
        digest.update((SOURCE / name).read_bytes())
    tag = f"localhost/aifa-slurm:{digest.hexdigest()[:12]}"
    if engine("image", "ls", "-q", tag).strip():
        return tag
    _need_base(engine)
    with tempfile.TemporaryDirectory(prefix="aifa-image-") as folder:
        context = Path(folder)
        context.chmod(0o755)  # apt fetches as a user of its own
        for name in ("Containerfile", "entrypoint"):
            shutil.copy(SOURCE / name, context / name)
        describe_builder(context / "builder")
        words = ["build", "--file", str(context / "Containerfile"), "--tag", tag]
        if engine.name == "podman":
            words += ["--isolation", "chroot", "--network", "host", *limits()[:2]]
        for name in _PROXIES:
            if os.environ.get(name):
                words += ["--build-arg", name]
        os.environ.setdefault("DOCKER_BUILDKIT", "1")
        engine(*words, folder)
    return tag


def _need_base(engine: Engine) -> None:
    """Pulls the base image, or makes it from Debian's packages where no registry can be reached."""
    if engine("image", "ls", "-q", BASE).strip():
        return
    pulled = subprocess.run([*engine.argv, "pull", BASE], capture_output=True, check=False, timeout=300)
    if pulled.returncode == 0:
        return
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        said = pulled.stderr.decode(errors="replace").strip()[-500:]
        raise RuntimeError(f"{BASE} cannot be pulled ({said}), and making it takes debootstrap and root")
    with tempfile.TemporaryDirectory(prefix="aifa-base-") as folder:
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "trixie", str(root), *_mirror())
        packed = Path(folder) / "base.tar"
        run("tar", "-C", str(root), "-cf", str(packed), ".")
        engine("import", str(packed), BASE)


def _mirror() -> tuple[str, ...]:
    """The mirror this machine itself uses, where it is a Debian; else debootstrap's default."""
    if shutil.which("apt-get") is None:
        return ()
    text = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", check=False)
    for line in text.splitlines():
        if line.startswith("Debian Debian "):
            return (line.split()[2],)
    return ()


def describe_builder(folder: Path) -> None:
    """Puts what the build needs to know of this machine in a folder: apt's settings, certificates, wheels."""
    folder.mkdir()
    settings = []
    if shutil.which("apt-config") is not None:
        # Settings that name files of this machine mean nothing in there.
        settings = [line for line in run("apt-config", "dump").splitlines() if line.startswith("Acquire::")]
        settings = [line for line in settings if '"/' not in line]
    certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE") or ""
    if Path(certificates).is_file():
        shutil.copy(certificates, folder / "ca.crt")
        settings.append('Acquire::https::CAInfo "/context/builder/ca.crt";')
    (folder / "apt.conf").write_text("".join(f"{line}\n" for line in settings), "utf-8")
    try:
        download(folder / "wheels", _PYTHON)
    except RuntimeError:
        # Without pip on this machine the build asks the public index itself.
        shutil.rmtree(folder / "wheels", ignore_errors=True)


def download(folder: Path, python: str) -> None:
    """Fetches the jobs' packages as wheels with this machine's own pip, so with all of its settings.

    Raises:
        RuntimeError: There is no pip, or it finds no index or no wheel.
    """
    machine = platform.machine()
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine, machine)
    tags = [f"--platform={tag}_{machine}" for tag in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    options = ["--quiet", "--only-binary=:all:", f"--python-version={python}", *tags]
    run(sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *PACKAGES)
