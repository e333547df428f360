"""From a site to its transport: the one place that knows which class goes with which word in ``sites.toml``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aifa_hpc.transport.local import LocalTransport
from aifa_hpc.transport.nodes import NodeMemory

if TYPE_CHECKING:
    from pathlib import Path

    from aifa_hpc.sites.model import Site
    from aifa_hpc.transport.base import Transport
    from aifa_hpc.transport.openssh import OpenSSHTransport


def open_transport(site: Site, state_dir: Path) -> Transport:
    """The transport of a site; it connects when it is first used.

    Args:
        site: Its ``access`` and ``login`` say how.
        state_dir: The user's state folder; sockets and the memory of login nodes go to ``ssh`` in it.

    Raises:
        InputError: A host, user or fingerprint that cannot be one.
        NotSentError: No folder can be trusted with a socket.
        ValueError: The site is of kind ``embedded``, whose transport ``aifa_hpc.embedded`` makes.
    """
    kind = site.access.transport
    if kind == "local":
        return LocalTransport()
    if kind == "openssh":
        nodes: dict[str, Any] = openssh_nodes(site, state_dir)
    elif kind == "fabric":
        from aifa_hpc.transport.fabric_ssh import FabricTransport  # noqa: PLC0415 - paramiko takes a while to import

        nodes = {host: FabricTransport(host=host, **_settings(site, state_dir)) for host in site.hosts}
    else:
        raise ValueError(f"a transport of kind {kind!r} is made by aifa_hpc.embedded, not here")
    if len(nodes) == 1:
        only: Transport = next(iter(nodes.values()))
        return only
    from aifa_hpc.transport.failover import FailoverTransport  # noqa: PLC0415 - only for several nodes

    return FailoverTransport(nodes, node_memory(state_dir), by_hand=site.mfa)


def openssh_nodes(site: Site, state_dir: Path) -> dict[str, OpenSSHTransport]:
    """A transport for each login node, the preferred first; errors as :func:`open_transport`."""
    from aifa_hpc.transport.openssh import OpenSSHTransport  # noqa: PLC0415 - a local site needs no ssh

    return {host: OpenSSHTransport(host=host, **_settings(site, state_dir)) for host in site.hosts}


def node_memory(state_dir: Path) -> NodeMemory:
    """What is remembered of login nodes."""
    return NodeMemory(state_dir / "ssh" / "nodes.json")


def _settings(site: Site, state_dir: Path) -> dict[str, Any]:
    return {
        "user": site.access.user,
        "port": site.access.port,
        "ssh_config": site.access.ssh_config,
        "identity_file": site.access.identity_file,
        "host_key_alias": site.access.host_key_alias,
        "pinned": tuple(f"{key.type} {key.fingerprint}".strip() for key in site.login.host_keys),
        "control_dir": state_dir / "ssh",
        "mfa": site.mfa,
        "mfa_prompt": site.login.mfa_prompt,
        "site": site.name,
        "inet_only": site.login.inet_only,
    }
