"""Two kinds of "not sent" that call for something else than trying again at once.

::

    NotSentError
    ├── ChannelRefusedError   the connection is up and full: wait, and take fewer channels
    └── PersonNeededError     only a person can change it: no retry, above all no second failed login
"""

from __future__ import annotations

from aifa_hpc.errors import NotSentError


class ChannelRefusedError(NotSentError):
    """The connection is up, but the server gives no further channel now (``MaxSessions`` of sshd_config(5))."""


class PersonNeededError(NotSentError):
    """Nothing was sent, and trying again changes nothing: a second factor, a key, a program or an option is missing."""
