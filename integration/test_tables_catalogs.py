"""Tables of real catalogs: PostgreSQL, Glue as moto serves it, and a REST catalog; also when they do not answer.

PyPI has no REST catalog that runs without a database and a store of its own: the one here answers the two questions
that opening a table asks, as the specification words them (iceberg.apache.org, "REST Catalog API"), from a catalog on
SQLite. What is proven with it is the client, and settings that a server vends.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.table import StaticTable

from aifa_hpc.errors import OutcomeUnknownError
from aifa_hpc.lakehouse.append import append
from aifa_hpc.lakehouse.names import read_table_name
from aifa_hpc.testing.stores import Bucket
from tests.lakehouse.tables import catalog, local
from tests.object_store import moto
from tests.program import Ran, run_aifa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

_POSTGRES = os.pathsep.join((os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))))
TOKEN = "a token of the lab"


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Configures the catalog ``lab`` as users do."""
    monkeypatch.setenv("AIFA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("AIFA_CONFIG_DIR", str(tmp_path / "config"))

    def configure(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"PYICEBERG_CATALOG__LAB__{name.upper()}", value)

    return configure


def stage(folder: Path) -> Ran:
    """Copies the table of that catalog."""
    words = ("stage", "copy", "iceberg:lab.d.t", str(folder), "--class", "open")
    return run_aifa(*words, env=dict(os.environ), cwd=folder.parent, timeout=120)


def fill(made: Catalog) -> Table:
    """A table with two snapshots."""
    rows = pa.table({"n": pa.array(range(100), pa.int64())})
    made.create_namespace_if_not_exists("d")
    table = made.create_table("d.t", schema=rows.schema)
    table.append(rows)
    table.append(rows)
    return table


def arrived(ran: Ran, folder: Path) -> bool:
    """Whether all rows are there, for a reader without a catalog."""
    assert 0 == ran.code, ran.err
    return bool(StaticTable.from_metadata(str(folder)).scan().count() == 200)


def unanswered(ran: Ran) -> bool:
    """Whether it is said that the catalog is at fault, for which table, and no password with it."""
    assert 3 == ran.code, ran.err
    return "cannot open for iceberg:lab.d.t" in ran.err and "secret" not in ran.err


@pytest.fixture
def postgres() -> Iterator[str]:
    """A server in a folder of its own, at a Unix socket there; as another user where this one is root."""
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed")
    initdb = shutil.which("initdb", path=_POSTGRES)
    if initdb is None:
        pytest.skip("there is no initdb (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="aifa-pg-", dir="/tmp") as name:
        drop: tuple[str, ...] = ()
        if os.geteuid() == 0:
            drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
            os.chown(name, 65534, 65534)
        pg_ctl = str(Path(initdb).resolve().with_name("pg_ctl"))

        def run(*words: str) -> None:
            ran = subprocess.run([*drop, *words], cwd=name, capture_output=True, text=True, check=False)
            assert 0 == ran.returncode, ran.stderr

        run(initdb, "-D", "data", "-U", "lab", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={name} -c fsync=off"
        run(pg_ctl, "-D", "data", "-w", "-l", "log", "-o", options, "start")
        try:
            yield name
        finally:
            run(pg_ctl, "-D", "data", "-m", "immediate", "stop")


def test_postgresql(postgres: str, configured: Callable[..., None], tmp_path: Path) -> None:
    """A table of a catalog on PostgreSQL; and none of one that is not there, with no word of its password."""
    uri = f"postgresql+psycopg2://lab:secret@/postgres?host={postgres}"
    configured(uri=uri)
    fill(load_catalog("lab", type="sql", uri=uri, warehouse=str(tmp_path)))

    assert arrived(stage(tmp_path / "copy"), tmp_path / "copy")
    configured(uri=f"{uri}/nowhere")
    assert unanswered(stage(tmp_path / "other"))


def test_glue(configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A table of Glue's with its files in S3 (with nobody there, boto3 tries ten times before it says so)."""
    with moto() as url:
        for key, value in {
            "ACCESS_KEY_ID": "key",
            "SECRET_ACCESS_KEY": "secret",
            "DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(f"AWS_{key}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        Bucket(url, "lab-glue")
        settings = {"type": "glue", "glue.endpoint": url, "glue.region": "us-east-1", "s3.endpoint": url}
        fill(load_catalog("lab", **settings, warehouse="s3://lab-glue/warehouse"))
        configured(type="glue", glue__endpoint=url, glue__region="us-east-1")
        ran = stage(tmp_path / "copy")

    assert arrived(ran, tmp_path / "copy")


class Rest(http.server.BaseHTTPRequestHandler):
    """What opening a table asks a REST catalog for."""

    table: Table
    silence: threading.Event

    def do_GET(self) -> None:
        """Answers those who have the token."""
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": {"message": "who are you", "type": "NotAuthorizedException", "code": 401}})
        elif self.path.startswith("/v1/config"):
            self._answer(200, {"defaults": {}, "overrides": {}})
        elif self.path.startswith("/v1/namespaces/d/tables/t"):
            location = self.table.metadata_location
            metadata = json.loads(local(location).read_text())
            self._answer(200, {"metadata-location": location, "metadata": metadata, "config": {}})
        else:
            missing = {"message": f"nothing at {self.path}", "type": "NoSuchTableException", "code": 404}
            self._answer(404, {"error": missing})

    def do_POST(self) -> None:
        """Takes a commit, and says nothing."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.silence.wait()

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so the standard library names it
        """Says nothing."""


@contextlib.contextmanager
def rest(table: Table) -> Iterator[str]:
    """A REST catalog with one table; gives its address."""
    silence = threading.Event()
    served = type("Served", (Rest,), {"table": table, "silence": silence})
    with serving(served) as url:
        yield url
        silence.set()


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of this machine; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_rest(configured: Callable[..., None], tmp_path: Path) -> None:
    """With the token; without it, for another table, and where nobody listens it is said what is wrong."""
    with rest(fill(catalog(tmp_path / "lab"))) as url:
        configured(type="rest", uri=url, token=TOKEN)
        first = stage(tmp_path / "copy")
        words = ("stage", "copy", "iceberg:lab.d.u", f"{tmp_path}/other", "--class", "open")
        other = run_aifa(*words, env=dict(os.environ), cwd=tmp_path, timeout=120)
        configured(token="a secret that is wrong")
        stranger = stage(tmp_path / "other")

    assert arrived(first, tmp_path / "copy")
    assert (2, True) == (other.code, "the catalog has no such table" in other.err), other.err
    assert unanswered(stranger)
    assert unanswered(stage(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("kind", "uri"),
    [
        ("rest", "http://lab:secret@127.0.0.1:{}"),
        ("sql", "postgresql+psycopg2://lab:secret@127.0.0.1:{}/lab"),
        ("hive", "thrift://127.0.0.1:{}"),
    ],
)
def test_a_catalog_that_never_answers(
    mute: int, configured: Callable[..., None], tmp_path: Path, kind: str, uri: str
) -> None:
    """It has the time that its property gives it; then table and catalog are named."""
    pytest.importorskip({"rest": "requests", "sql": "psycopg2", "hive": "thrift"}[kind])
    configured(type=kind, uri=uri.format(mute), aifa__seconds="3")
    ran = stage(tmp_path / "copy")

    assert 3 == ran.code, ran.err
    assert "iceberg:lab.d.t: catalog 'lab' at " in ran.err
    assert "does not answer within 3 seconds" in ran.err
    assert "secret" not in ran.err


def test_a_commit_that_is_never_answered(configured: Callable[..., None], tmp_path: Path) -> None:
    """It is tried again, and in the end it is said that it may have landed."""
    with rest(fill(catalog(tmp_path / "lab"))) as url:
        configured(type="rest", uri=url, token=TOKEN, aifa__seconds="3")
        rows = pa.table({"n": pa.array([1], pa.int64())})
        with pytest.raises(OutcomeUnknownError, match=r"failed 2 times, the last time by .*Timeout"):
            append(read_table_name("iceberg:lab.d.t"), lambda: rows, token="x", attempts=2, longest_wait=0.1)


GARBAGE = [
    (200, b"<html>Please log in</html>", "what catalog 'lab' answers is no table"),
    (200, b'{"metadata": {"key": "secret"}}', "what catalog 'lab' answers is no table"),
    (403, b"", "Are the credential or token of catalog 'lab' right"),
    (500, b'{"error": {"message": "no disk", "type": "Broken", "code": 500}}', "no disk"),
]


@pytest.mark.parametrize(("code", "body", "said"), GARBAGE)
def test_answers_that_are_none(
    configured: Callable[..., None], tmp_path: Path, code: int, body: bytes, said: str
) -> None:
    """Of a REST catalog, or of something else at its address: the catalog's fault, and no secret in what is said."""

    class Wrong(Rest):
        def do_GET(self) -> None:
            config = self.path.startswith("/v1/config")
            data = b"{}" if config and body.startswith(b'{"metadata"') else body
            self.send_response(200 if config and data != body else code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with serving(Wrong) as url:
        configured(type="rest", uri=url, token="secret")
        ran = stage(tmp_path / "copy")

    assert unanswered(ran)
    assert said in ran.err
    assert "Traceback" not in ran.err
