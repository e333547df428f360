"""What the operating system refused, as a sentence with the file, the place, the cause and the next step."""

from __future__ import annotations

import errno
import os

from aifa_hpc.errors import TransferError

_NEXT = {
    errno.ENOSPC: "Free some space there and run the same command again; what arrived is kept.",
    errno.EDQUOT: "The quota there is used up: delete something or ask for more, then run the same command again.",
    errno.EIO: "Check the quota and the disk there, then run the same command again; what arrived is kept.",
    errno.EACCES: "Check the permissions and your membership in the project's group.",
    errno.EPERM: "Check the permissions and your membership in the project's group.",
    errno.EROFS: "The file system is read-only: choose another path.",
    errno.ENOENT: "It vanished or never existed; if it is a link, its target is missing.",
    errno.ENOTDIR: "A file stands where a folder is needed: move it away.",
    errno.EISDIR: "A folder stands where the file should go: move it away.",
    errno.ENOTEMPTY: "A folder stands where the file should go: move it away.",
    errno.ENAMETOOLONG: "The far side cannot hold a name that long: shorten it.",
    errno.ELOOP: "A link leads back to a folder above it: remove the link.",
    errno.EFBIG: "The far side cannot hold a file that large: split it.",
}
_AGAIN = "Run the same command again; what arrived is kept."


class DamagedError(TransferError):
    """Bytes arrived with another hash than they were sent with; sending them again may help."""


class FencedError(TransferError):
    """Another transfer took the partial file over."""


def unable(*, kind: str, what: str, path: str, place: str, doing: str) -> TransferError:
    """A refusal that is not the operating system's, by the kinds of ``staging.files.Refused``."""
    if kind == "damaged":
        return DamagedError(f"{path!r} {what} (at {place}).", hint=_AGAIN)
    if kind == "fenced":
        return FencedError(
            f"{path!r} at {place} {what}.", hint="When no other copy is running, run the same command again."
        )
    hint = "Move it away, or choose another path." if kind == "path" else _AGAIN
    return TransferError(f"cannot {doing} {path!r} at {place}: it {what}.", hint=hint)


def refused(error: OSError, *, path: str, place: str, doing: str) -> TransferError:
    """An operating system's error, explained."""
    number = error.errno or 0
    name = path or "the folder itself"
    cause = error.strerror or (os.strerror(number) if number else str(error))
    return TransferError(f"cannot {doing} {name!r} at {place}: {cause}.", hint=_NEXT.get(number, _AGAIN))
