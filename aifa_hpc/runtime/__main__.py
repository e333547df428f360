"""``python -m aifa_hpc.runtime FILE.zip`` writes the runtime as one file; see :mod:`aifa_hpc.runtime.pack`."""

from __future__ import annotations

import sys

from aifa_hpc.runtime.pack import write_runtime

_ARGUMENTS = 2

if __name__ == "__main__":
    if len(sys.argv) != _ARGUMENTS or not sys.argv[1].endswith(".zip"):
        sys.exit("usage: python -m aifa_hpc.runtime FILE.zip")
    print(write_runtime(sys.argv[1]))  # noqa: T201 - it is a program
