"""Following a job over a link that breaks: tell once that the site is away, ask on, tell when it is back."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aifa_hpc.errors import HostKeyError
from aifa_hpc.tracker.schedule import outage_seconds
from aifa_hpc.transport.refusals import PersonNeededError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.errors import AifaError

logger = logging.getLogger(__name__)


class Patience:
    """Bears the failures that pass by themselves. A job does not end because a link does.

    Args:
        site: Its name, for messages.
        trouble: Told when the site cannot be asked, and when it can again; a warning is logged by default.
        monotonic: A clock that never goes back, in seconds.
    """

    def __init__(
        self,
        site: str,
        *,
        trouble: Callable[[str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = site
        self._trouble = trouble or logger.warning
        self._monotonic = monotonic
        self._failures = 0
        self._not_before = -float("inf")

    def ready(self) -> bool:
        """Whether the site may be asked, or failed just now."""
        return self._monotonic() >= self._not_before

    @contextmanager
    def bearing(self, *kinds: type[AifaError]) -> Iterator[None]:
        """Bears failures of these kinds, unless only a person can end them; they are told of once in an outage."""
        try:
            yield
        except kinds as error:
            if isinstance(error, HostKeyError | PersonNeededError):
                raise
            self._failures += 1
            self._not_before = self._monotonic() + outage_seconds(self._failures)
            if self._failures == 1:
                self._trouble(f"{self._site} cannot be asked now and is asked again until it can: {error}")

    def answered(self) -> None:
        """The site has answered."""
        if self._failures:
            self._trouble(f"{self._site} answers again")
        self._failures = 0
