"""Where the socket of a shared ssh connection lives: in a folder nobody else can enter, under a short path."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from aifa_hpc.errors import NotSentError

# sun_path of unix(7) is 108 bytes on Linux and 104 on macOS, with a final NUL; while ssh binds, it appends a dot and 16
# random letters to the name.
_LONGEST_PATH = 104 - 1 - 17


def control_path(folder: Path, *route: str) -> Path:
    """The socket for one way to a host, the same for every process of this user.

    Args:
        folder: Where it should be; a short folder of the user's is used instead when that path is too long.
        route: Everything that makes two connections different.

    Raises:
        NotSentError: The folder belongs to somebody else.
    """
    name = hashlib.sha256("\0".join(route).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = folder.absolute() / name
    if len(os.fsencode(path)) > _LONGEST_PATH:
        path = short_folder() / name
    _require_private(path.parent)
    return path


def short_folder() -> Path:
    """``$XDG_RUNTIME_DIR/aifa``, or ``/tmp/aifa-UID`` where there is none or its path is too long."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and len(os.fsencode(runtime)) < _LONGEST_PATH // 2 and Path(runtime).is_dir():
        return Path(runtime) / "aifa"
    return Path(f"/tmp/aifa-{os.geteuid()}")  # noqa: S108 - checked by _require_private


def _require_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise NotSentError(f"Cannot make the folder {folder} for ssh's socket: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NotSentError(
            f"{folder} is not a folder of yours, so it cannot hold ssh's socket: its owner could use your connection.",
            hint="Remove it, or set AIFA_STATE_DIR to a folder of your own with a short path.",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
