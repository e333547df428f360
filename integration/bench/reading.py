"""A rank's read loop against plain ``pyarrow.dataset``: the same files, columns and batch size, warm in the page cache.

    python integration/bench/reading.py [--runs 5]

Twice: reading alone, and with a step of ``--step`` milliseconds for each batch, which reading ahead should hide.
Figures are MiB of Arrow memory per second, medians of alternating runs. ``dataset`` reads in the order of paths, ours
in the order of an epoch; only ours can go on from a row.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from aifa_hpc.runtime import shards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COLUMNS = ["label", "pixels"]
SIZE = 4096
FILES, ROWS, WIDTH = 8, 65536, 64


def write(folder: Path) -> None:
    """Files as a training has them: a label and a vector for each row, beside a column that is not read."""
    random = np.random.default_rng(1)
    for number in range(FILES):
        pixels = pa.array(random.integers(0, 256, ROWS * WIDTH).astype(np.float32))
        table = pa.table(
            {
                "label": pa.array(random.integers(0, 10, ROWS)),
                "pixels": pa.FixedSizeListArray.from_arrays(pixels, WIDTH),
                "note": [f"row {row} of {number}" for row in range(ROWS)],
            }
        )
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=ROWS // 4, compression="zstd")


def ours(folder: Path) -> Iterator[Any]:
    """The share of a rank that is alone, shuffled."""
    with shards(folder, seed=1, rank=0, world=1).batches(columns=COLUMNS, size=SIZE) as batches:
        yield from batches


def dataset(folder: Path) -> Iterator[Any]:
    """Arrow's own scanner with its own reading ahead."""
    yield from ds.dataset(folder).to_batches(columns=COLUMNS, batch_size=SIZE)


def measure(read: Callable[[Path], Iterator[Any]], folder: Path, step: float) -> float:
    """MiB of Arrow memory per second."""
    begin, size, rows = time.perf_counter(), 0, 0
    for batch in read(folder):
        size += sum(column.nbytes for column in batch.columns)
        rows += batch.num_rows
        time.sleep(step)
    assert rows == FILES * ROWS
    return size / (time.perf_counter() - begin) / 2**20


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--step", type=float, default=5.0, help="milliseconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aifa-reading-") as name:
        write(Path(name))
        for title, step in (("reading alone", 0.0), (f"{options.step:g} ms a batch", options.step / 1000)):
            found: dict[str, list[float]] = {"ours": [], "dataset": []}
            for _ in range(options.runs + 1):
                for key, read in (("ours", ours), ("dataset", dataset)):
                    found[key].append(measure(read, Path(name), step))
            medians = {key: statistics.median(values[1:]) for key, values in found.items()}
            print(
                f"{title:<16} ours {medians['ours']:7.0f} MiB/s   pyarrow.dataset {medians['dataset']:7.0f} MiB/s"
                f"   ratio {medians['ours'] / medians['dataset']:.2f}"
            )


if __name__ == "__main__":
    main()
