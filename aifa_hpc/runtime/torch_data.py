"""A share of a data set as a ``torch.utils.data.IterableDataset``. Imported only by those who have PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, get_worker_info

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aifa_hpc.runtime.batches import Batches
    from aifa_hpc.runtime.shards import Share


class ShareDataset(IterableDataset):  # type: ignore[misc]  # PyTorch has no types where it is not installed
    """Batches of a rank's rows; give it to a ``DataLoader`` with ``batch_size=None``, because it makes the batches.

    Workers of the loader divide the share. Reading is ahead of training without any of them already.

    Args:
        share: What this rank reads.
        columns: Names; all by default.
        size: Rows of a batch.
        convert: Makes of a ``pyarrow.RecordBatch`` what the loader gives; a dictionary of tensors by default.
        resume: What ``share.state`` gave; only without workers.
    """

    def __init__(
        self,
        share: Share,
        *,
        columns: Sequence[str] | None = None,
        size: int = 1024,
        convert: Callable[[Any], Any] | None = None,
        resume: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._share = share
        self._columns = columns
        self._size = size
        self._convert = convert or tensors
        self._resume = resume
        self._reading: Batches | None = None

    def state(self) -> dict[str, int | None]:
        """Where reading is, for a checkpoint and for ``resume``: behind the batch that was given last.

        Raises:
            InputError: Reading has not begun, or workers do it, whose positions are not known here.
        """
        if self._reading is None:
            raise InputError(
                "there is no position: reading has not begun in this process.",
                hint="Use num_workers=0: batches are read ahead by a thread anyway.",
            )
        return self._share.state(self._reading)

    def __iter__(self) -> Iterator[Any]:
        share = self._share
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1:
            if self._resume is not None:
                raise InputError(
                    f"a position cannot be resumed by num_workers = {worker.num_workers}, which read at once.",
                    hint="Use num_workers=0: batches are read ahead by a thread anyway.",
                )
            share = share.part(worker.id, worker.num_workers)
        with share.batches(columns=self._columns, size=self._size, resume=self._resume) as batches:
            self._reading = None if worker is not None else batches
            for batch in batches:
                yield self._convert(batch)


def tensors(batch: Any) -> dict[str, Any]:
    """Columns of numbers as tensors, lists of a fixed length as (rows, length); other columns as Python lists."""
    import torch  # noqa: PLC0415 - heavy, and in memory by now

    found: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = numbers(column)
        # A copy: PyTorch writes into its tensors, and Arrow's memory may not be written to.
        found[name] = column.to_pylist() if values is None else torch.from_numpy(values.copy())
    return found


def numbers(column: Any) -> Any:
    """An Arrow column as a NumPy array, (rows,) or (rows, length); ``None`` for one with nulls or without numbers."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and in memory by now

    if column.null_count:
        return None
    if pa.types.is_fixed_size_list(column.type):
        inner = numbers(column.flatten())
        return None if inner is None or inner.ndim > 1 else inner.reshape(len(column), column.type.list_size)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        return column.to_numpy(zero_copy_only=False)
    return None
