"""A client of one object store by s3fs's low-level calls, its ETags, and its refusals as sentences."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aifa_hpc.errors import TransferError
from aifa_hpc.staging.endpoints.s3_wire import BLOCKING, Room, blocking_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aifa_hpc.staging.model import PartSum

_log = logging.getLogger(__name__)

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


_ENDED = frozenset({"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403", "Forbidden"})
"""How a store answers to keys that have ended or were replaced."""


class Store:
    """A client of one object store, shared by endpoints and threads.

    Keys that end while it works are looked up anew: in the files that hold them, and by whatever program makes them.

    Args:
        endpoint_url: Where it is; the environment's or the profile's, else Amazon's, by default.
        connections: Most at a time.
    """

    def __init__(self, endpoint_url: str | None, *, connections: int) -> None:
        self._url = endpoint_url
        # Checksum trailers, botocore's default since 1.36, break stores other than Amazon's; digests are headers here.
        self._config: dict[str, Any] = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "max_pool_connections": connections,
            **({"s3": {"addressing_style": "path"}} if endpoint_url else {}),
        }
        self._lock = threading.Lock()
        self.room = Room()
        self._client, self._keys = self._made()
        self._hasty: Any = None

    @property
    def host(self) -> str:
        """The name of its machine."""
        from fsspec.asyn import sync  # noqa: PLC0415 - comes with s3fs

        with explained("find", "", self._url or "the object store"):
            client = sync(self._client.fs.loop, self._client.fs.set_session)
        return urlsplit(str(client.meta.endpoint_url)).hostname or ""

    def call(self, method: str, **words: Any) -> Any:
        """One request; retried by s3fs where that is harmless, and with new keys where there are any.

        Raises:
            OSError: The store refused; s3fs's translation, with the store's own answer as its cause.
        """
        used = self._client
        try:
            return self.request(used, method, words)
        except OSError as error:
            if code_of(error) not in _ENDED or not self._renewed(used):
                raise
            return self.request(self._client, method, words)

    def once(self, method: str, **words: Any) -> Any:
        """One request that is answered at once: botocore tries again for seconds where a digest was wrong.

        Raises:
            OSError: As :meth:`call` does.
        """
        with self._lock:
            if self._hasty is None:
                self._hasty = _Client(self._client.fs, self._client.session, self._config, total_max_attempts=1)
        return self.request(self._hasty, method, words)

    def request(self, client: Any, method: str, words: dict[str, Any]) -> Any:
        """One request by that client."""
        return client.call(method, words)

    def _renewed(self, used: Any) -> bool:
        """Whether there are other keys than those that were refused; they are in use then."""
        with self._lock:
            if self._client is not used:
                return True  # by another thread
            client, keys = self._made()
            if keys == self._keys:
                return False
            _log.info("the keys for %s have ended, and there are new ones", self._url or "the object store")
            self._client, self._keys = client, keys
            return True

    def _made(self) -> tuple[_Client, tuple[str, ...]]:
        """A client, and the keys that are there for it now."""
        from botocore.session import Session  # noqa: PLC0415 - as below
        from s3fs import S3FileSystem  # noqa: PLC0415 - heavy, and not needed by most

        session = Session()
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else ()
        keys = tuple(str(one or "") for one in frozen)
        fs = S3FileSystem(endpoint_url=self._url, config_kwargs=self._config, skip_instance_cache=True)
        return _Client(fs, session, self._config), keys


class _Client:
    """s3fs's client, and botocore's own for bodies, with the same keys.

    Args:
        fs: The former.
        session: Of the latter.
        config: Of both.
        retries: Of the latter.
    """

    def __init__(self, fs: Any, session: Any, config: dict[str, Any], **retries: int) -> None:
        self.fs, self.session = fs, session
        self._config = config | {"retries": retries}
        self._lock = threading.Lock()
        self._blocking: Any = None

    def call(self, method: str, words: dict[str, Any]) -> Any:
        """One request; what has a body blocks its thread only."""
        if method not in BLOCKING:
            return self.fs.call_s3(method, **words)
        from botocore.exceptions import ClientError  # noqa: PLC0415 - as above
        from s3fs.errors import translate_boto_error  # noqa: PLC0415

        with self._lock:
            if self._blocking is None:
                self._blocking = blocking_client(self.fs, self.session, self._config)
        try:
            return getattr(self._blocking, method)(**words)
        except ClientError as error:
            raise translate_boto_error(error) from error


def etag(sums: Sequence[PartSum], *, multipart: bool = False) -> str:
    """The ETag of an object made of these parts."""
    if not multipart:
        return sums[0].md5.hex() if len(sums) == 1 else ""
    joined = hashlib.md5(b"".join(found.md5 for found in sums), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(sums)}"


def is_md5(pin: str) -> bool:
    """Whether an ETag looks like an MD5, of one piece or of parts."""
    return re.fullmatch(r"[0-9a-f]{32}(-[0-9]+)?", pin) is not None


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
