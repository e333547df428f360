"""Posts each event to an address, with a key by which its reader knows an event that comes twice."""

from __future__ import annotations

import http.client
import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from aifa_hpc import __version__
from aifa_hpc.errors import DeliveryError
from aifa_hpc.tracker.sinks.base import EventSink, event_fields, event_line, key_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence
    from pathlib import Path
    from urllib.request import OpenerDirector

    from aifa_hpc.tracker.records import Event
    from aifa_hpc.tracker.store import Store

_TIMEOUT = 10.0
_PASSING = frozenset({408, 409, 425, 429})
"""Answers that another try may change (RFC 9110, RFC 8470, RFC 6585), like all of 500 and above; 409 is said of a key
whose first request is still at work."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """Where a text is that must not stand in a configuration.

    Attributes:
        file: File that holds nothing else, readable by its owner only.
        env: Name of an environment variable.
    """

    file: Path | None = None
    env: str = ""

    def read(self) -> str:
        """The text.

        Raises:
            DeliveryError: It is not there, or others may read it.
        """
        if self.file is None:
            text = os.environ.get(self.env, "").strip()
            where = f"the variable {self.env}"
        else:
            text, where = self._in_file(self.file), str(self.file)
        if not text or not text.isascii() or not text.isprintable():
            raise DeliveryError(f"{where} is empty, or holds what no header may: give it one line of plain letters.")
        return text

    @staticmethod
    def _in_file(path: Path) -> str:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise DeliveryError(f"{path} cannot be read: {why}.") from error
        if mode & 0o077:
            raise DeliveryError(f"{path} has mode {mode:04o}, so others may read it.", hint=f"chmod 600 {path}")
        return text


class Webhook(EventSink):
    """An address that takes events by HTTP POST, each for itself.

    Args:
        name: As the user named it.
        url: Where to; a :class:`Secret` where the address itself is one.
        token: Sent as ``Authorization: Bearer``.
        since: Earlier events are passed over.
        timeout: Seconds that the other side has to answer.
    """

    kind = "webhook"

    def __init__(
        self,
        name: str,
        url: str | Secret,
        *,
        token: Secret | None = None,
        since: datetime.datetime | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        super().__init__(name, since=since)
        self._url = url
        self._token = token
        self._timeout = timeout

    def send(self, events: Sequence[Event], store: Store) -> None:
        del store
        url = self._url.read() if isinstance(self._url, Secret) else self._url
        if why := wrong_address(url, secret=self._token is not None):
            raise DeliveryError(f"the address of sink {self.name!r} {why}.")
        for event in events:
            self._post(url, event)

    def _post(self, url: str, event: Event) -> None:
        from urllib.request import Request  # noqa: PLC0415 - takes long to load

        body = json.dumps(event_fields(event) | {"text": event_line(event)}).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key_of(event),
            "User-Agent": f"aifa_hpc/{__version__}",
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.read()}"
        request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - the scheme was checked
        host = urlsplit(url).hostname
        try:
            with _opener().open(request, timeout=self._timeout):
                return
        except HTTPError as error:
            with error:
                passing = error.code in _PASSING or error.code >= 500  # noqa: PLR2004 - RFC 9110, server errors
            why, said = f"{host} answered {error.code} {error.reason}", error.code
        except (URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            why, said, passing = f"{host} cannot be reached: {reason}", 0, True
        hint = "It is sent again the next time."
        if said in {401, 403, 404, 410}:
            hint = "Look at the sink's url and token in events.toml; the event is kept until it is taken."
        raise DeliveryError(f"event {event.id} was not taken: {why}.", hint=hint, passing=passing)


def wrong_address(url: str, *, secret: bool) -> str:
    """Why an address cannot be used; empty when it can.

    Args:
        url: The address.
        secret: A token goes with what is sent.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is none: {error}"
    if parts.scheme not in {"http", "https"} or not host:
        return "must begin with https:// or http:// and name a host"
    if secret and parts.scheme == "http" and host not in LOOPBACK:
        return "must begin with https://, because a token goes with it"
    return ""


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener  # noqa: PLC0415 - takes long to load

    class NoRedirect(HTTPRedirectHandler):
        """A redirect would take the token, and a POST would become a GET."""

        def redirect_request(self, *_: object) -> None:
            """Follows none: the answer is an error."""

    return build_opener(NoRedirect)
