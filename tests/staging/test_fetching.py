"""Requests of one thread share a connection, and what cannot share one is asked all the same."""

from __future__ import annotations

import urllib.error
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.staging.fetching import Connection
from tests.staging.ranges import Web, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = b"0123456789"


@pytest.fixture
def web() -> Iterator[Web]:
    """A server with ten bytes."""
    with serve(DATA, len(DATA)) as found:
        yield found


@pytest.fixture(autouse=True)
def unproxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's way to the web is, it does not count here."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """One that ends with the test."""
    made = Connection(10.0)
    yield made
    made.close()


def read(connection: Connection, web: Web, first: int, last: int, *, most: int = 99) -> bytes:
    """A range of the file, or the first bytes of it."""
    with connection.get(web.url, {"Range": f"bytes={first}-{last}"}) as answer:
        found: bytes = answer.read(most)
        return found


def test_requests_share_a_connection(connection: Connection, web: Web) -> None:
    """Three ranges, one connection."""
    assert [b"012", b"3456", b"789"] == [read(connection, web, *span) for span in ((0, 2), (3, 6), (7, 9))]
    assert 1 == web.connections


def test_a_connection_that_the_server_ended_is_made_anew(connection: Connection, web: Web) -> None:
    """As servers do with those that were idle for a while."""
    web.rude = True
    assert [b"012", b"3456"] == [read(connection, web, *span) for span in ((0, 2), (3, 6))]
    assert 2 == web.connections


def test_an_answer_that_was_left_is_not_the_next_ones(connection: Connection, web: Web) -> None:
    """Its rest goes with its connection."""
    assert b"0" == read(connection, web, 0, 5, most=1)
    assert b"789" == read(connection, web, 7, 9)
    assert 2 == web.connections


def test_a_refusal_leaves_the_connection(connection: Connection, web: Web) -> None:
    """Its status is the answer's."""
    web.status = 503
    with connection.get(web.url, {}) as answer:
        assert 503 == answer.status
        assert b"" == answer.read()
    web.status = 0
    assert b"012" == read(connection, web, 0, 2)
    assert 1 == web.connections


def test_a_proxy_is_asked_by_urllib(connection: Connection, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute nodes may reach the web only through one; this one knows no such file."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", web.url.removesuffix("/data/big.bin"))
    web.status = 404
    with pytest.raises(urllib.error.HTTPError, match="404"):
        connection.get("http://elsewhere.invalid/file", {})
    assert 1 == web.connections
