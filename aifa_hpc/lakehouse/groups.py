"""Row groups of a Parquet file that may hold wanted rows, by their statistics, as far as these can be believed.

Statistics leave NaN out. Where the least value of a column is also the greatest, Arrow takes it for the only one, and
leaves the row group out when NaN is asked for, or all but that value: a row of NaN in it would be lost.
"""

from __future__ import annotations

from typing import Any

_FLOATING = ("FLOAT", "DOUBLE")


def row_groups(fragment: Any, wanted: Any, schema: Any) -> list[int]:
    """Their numbers in the file.

    Args:
        fragment: pyarrow's ``ParquetFileFragment``.
        wanted: pyarrow's expression, or ``None`` for all rows.
        schema: What the names in it are.
    """
    chosen = {group.id for piece in fragment.split_by_row_group(wanted, schema) for group in piece.row_groups}
    text = str(wanted)
    return [
        group.id
        for group in fragment.row_groups
        if group.id in chosen or (wanted is not None and _may_hide_nan(fragment.metadata.row_group(group.id), text))
    ]


def _may_hide_nan(group: Any, text: str) -> bool:
    """Whether a column that the filter may name seems to have one value."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.physical_type not in _FLOATING or column.path_in_schema.partition(".")[0] not in text:
            continue
        known = column.statistics
        if known is not None and known.has_min_max and known.min == known.max:
            return True
    return False
