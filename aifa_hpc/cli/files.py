"""Text files that the user names: read and written with errors that a person can act on."""

from __future__ import annotations

from pathlib import Path

from aifa_hpc.errors import InputError


def read_file(path: str) -> str:
    """The text of a file.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text("utf-8-sig")  # some editors begin UTF-8 with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path!r} cannot be read: {reason}.") from error


def write_file(path: str, text: str) -> None:
    """Writes a file aside and gives it its name, so that no reader sees half of it.

    Raises:
        InputError: It cannot be written.
    """
    aside = Path(f"{path}.aifa-new")
    try:
        aside.write_text(text, "utf-8")
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path!r} cannot be written: {error.strerror}.") from error
