"""The demo's data: the handwritten digits that scikit-learn ships, as Parquet shards.

1,797 images of 8 × 8 grey values, from the UCI repository ("Optical Recognition of Handwritten Digits", E. Alpaydin and
C. Kaynak, 1998, CC BY 4.0). Columns: ``label`` (int64, 0 to 9) and ``pixels`` (64 float64, 0 to 16).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def write_shards(folder: Path, count: int = 8) -> list[Path]:
    """Writes the digits as ``part-K.parquet``, every ``count``-th row to the same shard.

    Raises:
        InputError: scikit-learn, which ships the data, is not installed.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only here
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "the demo's data comes with scikit-learn, which is not installed.", hint="pip install 'aifa_hpc[demo]'"
        ) from error
    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        pixels = digits.data[number::count]
        flat = pa.array(pixels.reshape(-1))
        table = pa.table(
            {
                "label": pa.array(digits.target[number::count]),
                "pixels": pa.FixedSizeListArray.from_arrays(flat, pixels.shape[1]),
            }
        )
        path = folder / f"part-{number:03}.parquet"
        pq.write_table(table, path)
        paths.append(path)
    return paths
