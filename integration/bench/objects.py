"""What a copy to and from an object store costs in processors, the tool's and the server's apart.

    python -m integration.bench.objects [--stores rclone,seaweed,strict,ceph] [--tools ours,s3fs,s5cmd] [--size MIB]

On one machine both share its processors, so that the slower a server is, the more alike all tools are; and how long it
takes depends on who else is there. These are seconds of processors for each GiB: ``me`` and ``children`` are the tool,
the other is the server (of Ceph's, whose daemons are nobody's children, nothing is seen). The first round warms up.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from aifa_hpc.testing.stores import Bucket, CephStore, ObjectStore, RcloneStore, StrictStore
from integration.bench.cpu import measure
from integration.bench.seaweed import SeaweedStore
from integration.bench.staging import MIB, make_file, s3_row

STORES: dict[str, type[ObjectStore]] = {
    "rclone": RcloneStore, "seaweed": SeaweedStore, "strict": StrictStore, "ceph": CephStore
}  # fmt: skip


def main() -> None:
    """Prints a line for each copy."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stores", default="rclone,seaweed,strict", help=f"some of {', '.join(STORES)}")
    parser.add_argument("--tools", default="ours,s3fs,s5cmd")
    parser.add_argument("--size", type=int, default=512, help="MiB")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the files are; /dev/shm leaves the disk out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aifa-bench-", dir=options.folder) as name:
        folder = Path(name)
        data = make_file(folder / "file", options.size * MIB)
        for kind in options.stores.split(","):
            if lacking := STORES[kind].lacking():
                print(f"{kind}: there is no {lacking}")
                continue
            with STORES[kind].started(folder / kind) as store:
                os.environ.update(store.env)
                bucket = Bucket(store.url, "bench")
                for up in (True, False):
                    row = s3_row(bucket, folder, data, up=up)
                    for number in range(options.rounds + 1):
                        for tool in filter(row.tools.__contains__, options.tools.split(",")):
                            row.prepare()
                            line = measure(tool, row.tools[tool])
                            row.check()
                            if number:
                                print(f"{options.size} MiB {'to' if up else 'from'} {kind}: {line}", flush=True)


if __name__ == "__main__":
    main()
