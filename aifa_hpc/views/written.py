"""Files that appear whole or not at all, readable by their owner only unless they were open to others before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a text file by renaming a finished one; what was there before stays until then, and lends its mode.

    Raises:
        InputError: It cannot be written; nothing was changed.
    """
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                os.fchmod(file.fileno(), mode)
            os.replace(part, path)  # noqa: PTH105 - `part` is a name, not a Path
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)  # noqa: PTH108 - same
            raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}.", hint="Name a file in a folder that is yours to write."
        ) from error
