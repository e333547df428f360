"""An object store in threads of the tests' process."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """moto's, on a free port of the loopback; gives its URL. All of a process share what they hold."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()
