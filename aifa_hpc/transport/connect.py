"""From a site to its transport: the one place that knows which class goes with which word in ``sites.toml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.transport.local import LocalTransport

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import Site
    from aifa_hpc.transport.base import Transport


def open_transport(site: Site, state_dir: Path) -> Transport:
    """The transport of a site; it connects when it is first used.

    Args:
        site: Its ``access`` and ``login`` say how.
        state_dir: The user's state folder; sockets go to ``ssh`` in it.

    Raises:
        InputError: A host, user or fingerprint that cannot be one.
        NotSentError: No folder can be trusted with a socket.
        ValueError: The site is of kind ``embedded``, whose transport ``aifa_hpc.embedded`` makes.
    """
    kind = site.access.transport
    if kind == "local":
        return LocalTransport()
    settings: dict[str, Any] = {
        "host": site.host,
        "user": site.access.user,
        "port": site.access.port,
        "ssh_config": site.access.ssh_config,
        "identity_file": site.access.identity_file,
        "pinned": tuple(f"{key.type} {key.fingerprint}".strip() for key in site.login.host_keys),
        "control_dir": state_dir / "ssh",
        "mfa": site.mfa,
        "mfa_prompt": site.login.mfa_prompt,
        "site": site.name,
        "inet_only": site.login.inet_only,
    }
    if kind == "openssh":
        from aifa_hpc.transport.openssh import OpenSSHTransport  # noqa: PLC0415 - a local site needs no ssh

        return OpenSSHTransport(**settings)
    if kind == "fabric":
        from aifa_hpc.transport.fabric_ssh import FabricTransport  # noqa: PLC0415 - paramiko takes a while to import

        return FabricTransport(**settings)
    raise ValueError(f"a transport of kind {kind!r} is made by aifa_hpc.embedded, not here")
