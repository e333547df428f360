"""A client of one object store by s3fs's low-level calls, its ETags, and its refusals as sentences."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aifa_hpc.staging.model import PartSum

_AGAIN = "Run the same command again; what arrived is kept."
_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws; LUMI-O's keys end after a week."
_NEXT = {
    "NoSuchBucket": "Check the bucket's name and the endpoint (AWS_ENDPOINT_URL).",
    "AccessDenied": _KEYS,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": _KEYS,
    "403": _KEYS,
    "QuotaExceeded": "The quota there is used up: delete something, old uploads too, then run the same command again.",
    "NoSuchUpload": "The upload was aborted by somebody: run the same command again, it is sent anew.",
    "KeyTooLongError": "A key has at most 1,024 bytes: shorten the name.",
}


class Store:
    """A client of one object store, shared by endpoints and threads.

    Args:
        endpoint_url: Where it is.
        connections: Most at a time.
    """

    def __init__(self, endpoint_url: str | None, *, connections: int) -> None:
        from s3fs import S3FileSystem  # noqa: PLC0415 - heavy, and not needed by most

        # Checksum trailers, botocore's default since 1.36, break stores other than Amazon's; MD5 is checked here.
        config = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "max_pool_connections": connections,
            **({"s3": {"addressing_style": "path"}} if endpoint_url else {}),
        }
        self._fs = S3FileSystem(endpoint_url=endpoint_url, config_kwargs=config, skip_instance_cache=True)

    def call(self, method: str, **words: Any) -> Any:
        """One request; retried by s3fs where that is harmless.

        Raises:
            OSError: The store refused; s3fs's translation, with the store's own answer as its cause.
        """
        return self._fs.call_s3(method, **words)

    def pull(self, body: Any, count: int) -> bytes:
        """The next bytes of a streamed answer; at its end, none."""
        from fsspec.asyn import sync  # noqa: PLC0415 - comes with s3fs

        data: bytes = sync(self._fs.loop, body.read, count)
        return data


def etag(sums: Sequence[PartSum], *, multipart: bool = False) -> str:
    """The ETag of an object made of these parts."""
    if not multipart:
        return sums[0].md5.hex() if len(sums) == 1 else ""
    joined = hashlib.md5(b"".join(found.md5 for found in sums), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(sums)}"


def code_of(error: BaseException) -> str:
    """The store's own word for it (``NoSuchUpload``), found in the error or what caused it; empty for none."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        seen = seen.__cause__
    return ""


@contextmanager
def explained(doing: str, path: str, place: str) -> Iterator[None]:
    """Explains what the store or the way to it refuses meanwhile."""
    import aiohttp  # noqa: PLC0415 - comes with s3fs, and is slow to import
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (OSError, BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError) as error:
        code = code_of(error)
        missing = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")
        what = f"{path!r} at {place}" if path else place
        raise TransferError(
            f"cannot {doing} {what}: {error}{f' ({code})' if code and code not in str(error) else ''}.",
            hint=_KEYS if missing else _NEXT.get(code, _AGAIN),
        ) from error
