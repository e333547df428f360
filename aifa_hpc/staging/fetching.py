# ruff: noqa: UP006, UP035 - Python 3.6 has no other way to say it
# ruff: noqa: S310 - URLs come from the user's own list
"""GETs of one thread over a connection that is kept, as a site asks them: Python 3.6, the standard library.

A handshake costs two or three round trips, which for small files is more than the file. What only ``urllib`` knows is
left to it, with a connection for each request: proxies, redirects, and schemes other than HTTP.
"""

import http.client
import urllib.request
from typing import Any, Dict, Optional, Tuple  # noqa: F401 - type comments

_KINDS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
_REDIRECTS = (301, 302, 303, 307, 308)


class Connection:
    """Kept while requests go to the same server and every answer is read to its end.

    Args:
        patience: Seconds of silence after which an ``OSError`` is raised.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._to = ("", "")
        self._kept = None  # type: Optional[http.client.HTTPConnection]
        self._answer = None  # type: Optional[http.client.HTTPResponse]

    def get(self, url: str, headers: Dict[str, str]) -> Any:
        """The answer to a request, to be read and closed; of a refusal, too, where the connection is kept.

        Raises:
            urllib.error.HTTPError: A refusal of a server that is reached by ``urllib``.
            OSError: The server cannot be reached.
            http.client.HTTPException: It does not speak HTTP, or ended in the middle of its answer.
        """
        request = urllib.request.Request(url, headers=headers)
        if request.type not in _KINDS or "@" in request.host or _by_proxy(request):
            return urllib.request.urlopen(request, timeout=self._patience)
        answer = self._ask(request, headers)
        if answer.status in _REDIRECTS:
            self.close()
            return urllib.request.urlopen(request, timeout=self._patience)
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._kept is not None:
            self._kept.close()
        self._kept = self._answer = None

    def _ask(self, request: urllib.request.Request, headers: Dict[str, str]) -> http.client.HTTPResponse:
        to = (request.type, request.host)
        if to != self._to or self._answer is None or self._answer.length != 0:
            self.close()  # of an answer that was left in the middle, the rest would come first
        self._to = to
        old = self._kept is not None
        try:
            return self._once(request, headers)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not old:
                raise
        return self._once(request, headers)  # the server had ended what was kept

    def _once(self, request: urllib.request.Request, headers: Dict[str, str]) -> http.client.HTTPResponse:
        if self._kept is None:
            self._kept = _KINDS[request.type](request.host, timeout=self._patience)
        self._kept.request("GET", request.selector, headers=headers)
        self._answer = self._kept.getresponse()
        return self._answer


def _by_proxy(request: urllib.request.Request) -> bool:
    return request.type in urllib.request.getproxies() and not urllib.request.proxy_bypass(request.host)
