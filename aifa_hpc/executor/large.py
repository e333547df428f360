"""Brings an outcome that is too large for one answer: by the staging engine, resumed and verified."""

from __future__ import annotations

import posixpath
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aifa_hpc.privacy.gate import clear
from aifa_hpc.sites.load import state_dir
from aifa_hpc.staging.endpoints.local import LocalEndpoint
from aifa_hpc.staging.endpoints.ssh import SSHEndpoint
from aifa_hpc.staging.engine import copy
from aifa_hpc.staging.ledger import Ledger

if TYPE_CHECKING:
    from aifa_hpc.cluster import Cluster


def fetch_large(cluster: Cluster, path: str) -> bytes:
    """The bytes of a file of the user's own on the site.

    Raises:
        TransferError: It did not arrive.
        TransportError: The site cannot be reached.
    """
    with (
        tempfile.TemporaryDirectory(prefix="aifa-result-") as folder,
        SSHEndpoint(cluster.transport, path, label=cluster.site.name) as source,
        LocalEndpoint(f"{folder}/") as target,
        Ledger(state_dir() / "staging.sqlite3") as ledger,
    ):
        copy(source, target, clearance=clear(None, outgoing=False), ledger=ledger)
        return (Path(folder) / posixpath.basename(path)).read_bytes()
