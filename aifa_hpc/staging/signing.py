"""URLs by which another machine reads a file without any key: signed for an object of a store, plain for the web."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import InputError
from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.staging.endpoints.s3_store import explained
from aifa_hpc.staging.endpoints.url import URLEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.plan import Action

VALID_SECONDS = 7 * 24 * 3600
"""The longest that a signature holds (AWS Signature Version 4; LUMI-O too); it ends with its key, if that is sooner."""


def signer(source: Endpoint, bucket: str, *, seconds: int = VALID_SECONDS) -> Callable[[Action], tuple[str, str]]:
    """Gives the URL of a file, and the ETag that what is read must have, where the store tells it.

    Args:
        source: The folder or prefix.
        bucket: Of an object store.
        seconds: How long the URLs hold.

    Raises:
        InputError: Its files have no URLs that another machine could read.
        TransferError: There are no keys to sign with.
    """
    if isinstance(source, URLEndpoint) and source.web:
        return lambda action: (source.full(action.file.path), "")
    if not isinstance(source, S3Endpoint):
        raise InputError(
            f"a site cannot fetch {source} by itself: only s3:// and https:// have URLs that it could read.",
            hint="Use `aifa stage copy`.",
        )
    with explained("sign URLs of", "", str(source)):
        client = _client()
        # A signature holds for one region only, and the bucket may be in another than the one that is set.
        region = client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
        client = _client(region) if region and region != client.meta.region_name else client

    def sign(action: Action) -> tuple[str, str]:
        words = {"Bucket": bucket, "Key": source.key(action.file.path)}
        with explained("sign the URL of", action.file.path, str(source)):
            url: str = client.generate_presigned_url("get_object", Params=words, ExpiresIn=seconds)
        return url, action.file.pin

    return sign


def _client(region: str | None = None) -> Any:
    from botocore.config import Config  # noqa: PLC0415 - heavy, and not needed by most
    from botocore.session import get_session  # noqa: PLC0415

    session = get_session()
    own = session.get_config_variable("endpoint_url") or session.get_scoped_config().get("endpoint_url")
    style = {"s3": {"addressing_style": "path"}} if own else {}
    return session.create_client("s3", region_name=region, config=Config(signature_version="s3v4", **style))
