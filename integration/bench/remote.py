"""A rank's read loop over S3 against fsspec's own reading: the same objects, columns and batch size.

    python -m integration.bench.remote [--runs 3] [--far 20]

``fsspec`` is ``pyarrow.dataset`` over s3fs with its defaults; ``arrow`` is the same over Arrow's own S3 client, for
comparison: a program that may fetch ahead in C++. The store is rclone's over a folder, beside the page cache; with
``--far`` again over a way there and back of so many milliseconds, because on the loopback nobody waits. Figures are MiB
of Arrow memory per second, medians of alternating runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from aifa_hpc.runtime import shards
from aifa_hpc.testing.stores import RcloneStore
from integration.bench.peers import far
from integration.bench.reading import COLUMNS, FILES, ROWS, SIZE, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACE = "bench/digits"


def ours(url: str) -> Iterator[Any]:
    """The share of a rank that is alone, shuffled."""
    del url  # from the environment
    with shards(f"s3://{PLACE}", seed=1, rank=0, world=1).batches(columns=COLUMNS, size=SIZE) as batches:
        yield from batches


def through_fsspec(url: str) -> Iterator[Any]:
    """Arrow's scanner over s3fs."""
    fs = fsspec.filesystem("s3", endpoint_url=url, skip_instance_cache=True)
    yield from ds.dataset(PLACE, filesystem=fs).to_batches(columns=COLUMNS, batch_size=SIZE)


def through_arrow(url: str) -> Iterator[Any]:
    """Arrow's scanner over its own client."""
    fs = pafs.S3FileSystem(endpoint_override=url, region="us-east-1")
    yield from ds.dataset(PLACE, filesystem=fs).to_batches(columns=COLUMNS, batch_size=SIZE)


READERS = {"ours": ours, "fsspec": through_fsspec, "arrow": through_arrow}


def measure(read: Callable[[str], Iterator[Any]], url: str) -> float:
    """MiB of Arrow memory per second, from opening to the last batch."""
    os.environ["AWS_ENDPOINT_URL"] = url
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    begin, size, rows = time.perf_counter(), 0, 0
    for batch in read(url):
        size += sum(column.nbytes for column in batch.columns)
        rows += batch.num_rows
    assert rows == FILES * ROWS
    return size / (time.perf_counter() - begin) / 2**20


def show(title: str, url: str, runs: int) -> None:
    """Measures all and prints a line."""
    found: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(runs + 1):
        for name, read in READERS.items():
            found[name].append(measure(read, url))
    medians = {name: statistics.median(values[1:]) for name, values in found.items()}
    words = "   ".join(f"{name} {value:6.0f} MiB/s" for name, value in medians.items())
    print(f"{title:<12} {words}   ours/fsspec {medians['ours'] / medians['fsspec']:.2f}", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--far", type=float, default=20.0, help="milliseconds there and back; 0 leaves it out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aifa-remote-") as name, RcloneStore.started(Path(name)) as store:
        os.environ.update(store.env)
        folder = store.folder / "buckets" / PLACE
        folder.mkdir(parents=True)
        write(folder)
        show("loopback", store.url, options.runs)
        if options.far:
            with far(store.port, options.far / 2000) as port:
                show(f"{options.far:g} ms away", f"http://127.0.0.1:{port}", options.runs)


if __name__ == "__main__":
    main()
