"""How much of a site's patience the processes of a user may spend together: commands, and new connections.

Both are token buckets in the store. What is taken beyond them is waited for in order, so that ten scripts are no ruder
than one, and nobody is refused.
"""

from __future__ import annotations

import datetime
import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from aifa_hpc.cluster import open_transport
from aifa_hpc.sites.load import state_dir
from aifa_hpc.tracker.asking import Asking
from aifa_hpc.tracker.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aifa_hpc.sites.model import Site
    from aifa_hpc.transport.base import Transport

logger = logging.getLogger(__name__)

_WORTH_TELLING = 5.0


class Bucket(NamedTuple):
    """A budget: so many at once, and so many that come back in a second."""

    kind: str
    most: float
    per_second: float


COMMANDS = Bucket("commands", 300, 2.0)
"""What comes back is Slurm's own limit for a user, where a site sets one (slurm.conf(5), SlurmctldParameters:
rl_refill_rate=2); a burst is a few hundred jobs submitted one by one, as people do in a loop of sbatch."""

CONNECTIONS = Bucket("connections", 20, 1 / 6)
"""JSC's firewall blocks an address that connects too often, failed logins included, and publishes no number (JSC,
access to JUDAC). A login is kept and shared, so ten in a minute are more than work needs."""


class Budget:
    """What may be spent on one site.

    Args:
        path: The store's file; it is opened for each token, because any thread may spend.
        site: Site name.
        clock: Gives the time, aware.
        sleep: Waits, in seconds.
    """

    def __init__(
        self, path: Path, site: str, *, clock: Callable[[], datetime.datetime], sleep: Callable[[float], None]
    ) -> None:
        self._path = path
        self._site = site
        self._clock = clock
        self._sleep = sleep

    def command(self) -> None:
        """Waits until one more command may be sent."""
        self._spend(COMMANDS)

    def connection(self) -> None:
        """Waits until one more connection may be opened."""
        self._spend(CONNECTIONS)

    def _spend(self, bucket: Bucket) -> None:
        with closing(Store(self._path)) as store:
            asking = Asking(store, self._site)
            seconds = asking.draw(bucket.kind, now=self._clock(), most=bucket.most, per_second=bucket.per_second)
        if seconds >= _WORTH_TELLING:
            logger.warning("%s gets no more %s for %.0f s, to stay welcome there", self._site, bucket.kind, seconds)
        if seconds > 0:
            self._sleep(seconds)


def open_site(site: Site) -> Transport:
    """The transport that a site's entry asks for, as everything but a test opens it: what it does is counted.

    Raises:
        InputError: A host, user or fingerprint that cannot be one.
    """
    transport = open_transport(site)
    pace(transport, site)
    return transport


def pace(transport: Transport, site: Site) -> None:
    """Counts a transport's commands and logins against what the user may spend on the site; here is free of it."""
    if site.access.transport in {"openssh", "fabric"}:
        path = state_dir() / "jobs.sqlite3"
        budget = Budget(path, site.name, clock=lambda: datetime.datetime.now(datetime.UTC), sleep=time.sleep)
        transport.pace(commands=budget.command, logins=budget.connection)
