"""From a location to its endpoint: the one place that knows which class goes with which kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.s3 import S3Endpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.location import Location
    from aifa_hpc.transport.base import Transport

_CHANNELS = 4


def open_endpoint(
    location: Location,
    *,
    transport: Callable[[str], Transport],
    channels: int = _CHANNELS,
    python: str = "python3",
    endpoint_url: str | None = None,
) -> Endpoint:
    """The endpoint of a location; nothing is connected before it is used.

    Args:
        location: From :func:`aifa_hpc.staging.location.parse_location`.
        transport: The transport of a site by its name; it stays the caller's to close.
        channels: Parallel conversations with a site.
        python: Python 3.6 or newer on the site (``login.python`` of its profile, where that is set).
        endpoint_url: Object store; the AWS environment's own by default.
    """
    if location.kind == "site":
        return SSHEndpoint(
            transport(location.site), location.path, channels=channels, python=python or "python3", label=location.site
        )
    if location.kind == "s3":
        return S3Endpoint(location.bucket, location.prefix, endpoint_url=endpoint_url)
    slash = "/" if location.path.endswith("/") else ""
    return LocalEndpoint(f"{Path(location.path).expanduser()}{slash}")
