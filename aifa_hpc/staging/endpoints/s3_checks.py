"""Which digests an object store really checks, found out by sending it wrong ones, once for each bucket in a process.

Stores take a digest's header and need not look at it: Ceph 16, rclone 1.75 and moto 5 store a part under a wrong
``x-amz-checksum-sha256`` (or CRC), and moto and rclone even tell it as the part's, so that being told one proves
nothing. A refusal does. So a few bytes go under a wrong digest, as a part of an upload that is aborted at once and
never was an object: a bucket with versions, locks or readers has nothing of it, and a process that is killed meanwhile
leaves an upload as any other, which ``gc`` finds.

Asked are SHA-256 and, where that is not checked, MD5. CRCs are not: no store is known that checks them and not MD5.
Where SHA-256 is checked no MD5 is made, which takes more than twice as long, here and at the store. The answer is worth
up to eight requests where many are to come, so a small copy asks nothing; what another one in the process found out it
uses.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from aifa_hpc.staging.endpoints.s3_store import code_of

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

Check: TypeAlias = Literal["sha256", "md5", ""]

JOBS = 32
"""Parts and objects of a copy from which on it asks; each of them is two requests or 16 MiB."""

DECLARED = {"ChecksumAlgorithm": "SHA256"}
"""With the request that begins an upload whose parts have SHA-256 (Amazon S3 user guide, "checking object integrity").

Parts name it as well: newer versions of Ceph look at a digest only where the algorithm is named beside it.
"""

_REFUSALS = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
"""What a store says of a wrong digest: Amazon, Ceph, versitygw; MinIO."""

_UNKNOWN = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
"""What a store may say of an algorithm it does not know."""

_BODY, _OTHER = b"aifa", b"other"


class Call(Protocol):
    """A request about one object."""

    def __call__(self, method: str, **words: Any) -> Any:
        """Sends it.

        Raises:
            OSError: The store refused.
        """


class Checks:
    """What is known of buckets."""

    def __init__(self) -> None:
        self._found: dict[str, Check] = {}
        self._lock = threading.Lock()

    def known(self, bucket: str) -> Check | None:
        """What that bucket's store checks; ``None`` when it was not asked."""
        return self._found.get(bucket)

    def learn(self, bucket: str, ask: Callable[[], Check]) -> Check:
        """The same; asked now, if nobody did."""
        with self._lock:
            if bucket not in self._found:
                self._found[bucket] = found = ask()
                _log.info("%s checks %s of what it is sent", bucket, found.upper() or "no digest")
            return self._found[bucket]


KNOWN = Checks()
"""What this process found out."""


def probe(call: Call, once: Call) -> Check:
    """The strongest digest that a store checks of the parts of uploads.

    Args:
        call: A request about a key where something may be written.
        once: The same, not tried again.

    Raises:
        OSError: There is no way to the store, or nobody may write there.
    """
    wrong: dict[Check, dict[str, str]] = {
        "sha256": DECLARED | {"ChecksumSHA256": _text(hashlib.sha256(_OTHER).digest()), "ContentMD5": _md5(_BODY)},
        "md5": {"ContentMD5": _md5(_OTHER)},
    }
    return next((check for check, words in wrong.items() if _refuses(call, once, words, check == "sha256")), "")


def digests(*, md5: bytes = b"", sha256: bytes = b"") -> dict[str, str]:
    """What goes with a part or an object of those digests; empty ones do not."""
    words = {"ContentMD5": _text(md5)} if md5 else {}
    return words | DECLARED | {"ChecksumSHA256": _text(sha256)} if sha256 else words


def _refuses(call: Call, once: Call, words: dict[str, str], declared: bool) -> bool:
    """Whether a part with those words about other bytes is refused for them."""
    try:
        upload = call("create_multipart_upload", **(DECLARED if declared else {}))["UploadId"]
    except OSError as error:
        if declared and code_of(error) in _UNKNOWN:
            return False
        raise
    try:
        once("upload_part", UploadId=upload, PartNumber=1, Body=_BODY, **words)
    except OSError as error:
        if not code_of(error):
            raise
        return code_of(error) in _REFUSALS and (not declared or _tells(call, upload))
    finally:
        with suppress(OSError):  # rclone drops an upload of which it refused a part
            call("abort_multipart_upload", UploadId=upload)
    return False


def _tells(call: Call, upload: str) -> bool:
    """Whether it lists the SHA-256 of a part, which the completion of an upload has to name, and answers with its MD5.

    SeaweedFS 4 does not list it: an upload that was begun so could not be continued by another process. Where ETags are
    no MD5 (Amazon's, with SSE-KMS), nothing that is there already could be compared.
    """
    right = _text(hashlib.sha256(_BODY).digest())
    try:
        sent = call("upload_part", UploadId=upload, PartNumber=1, Body=_BODY, **DECLARED | {"ChecksumSHA256": right})
        parts = call("list_parts", UploadId=upload).get("Parts", ())
    except OSError as error:
        if not code_of(error):
            raise
        return False
    md5 = hashlib.md5(_BODY, usedforsecurity=False).hexdigest()
    return sent["ETag"].strip('"') == md5 and any(part.get("ChecksumSHA256") == right for part in parts)


def _md5(data: bytes) -> str:
    return _text(hashlib.md5(data, usedforsecurity=False).digest())


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
