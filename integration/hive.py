"""Hive's own metastore on this machine: the one that pyspark ships in its jars, with Derby as its database.

Spark's jars have no scripts that make the tables of locks, which commits need: Hive makes them itself when it believes
that it is tested, and then refuses locks of clients that do not say what for. So it is started twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAIN = "org.apache.hadoop.hive.metastore.HiveMetaStore"
_PATIENCE = 180.0
_SITE = """<configuration>
<property><name>hive.async.log.enabled</name><value>false</value></property>
<property><name>hive.in.test</name><value>{in_test}</value></property>
<property><name>hive.metastore.schema.verification</name><value>false</value></property>
<property><name>hive.metastore.warehouse.dir</name><value>file://{folder}/warehouse</value></property>
<property><name>datanucleus.schema.autoCreateAll</name><value>true</value></property>
<property><name>javax.jdo.option.ConnectionDriverName</name>
<value>org.apache.derby.jdbc.EmbeddedDriver</value></property>
<property><name>javax.jdo.option.ConnectionURL</name>
<value>jdbc:derby:;databaseName={folder}/database;create=true</value></property>
</configuration>
"""


def jars() -> Path:
    """The folder of jars: pyspark's, or ``$AIFA_HIVE_JARS``; the test is left out where there is none."""
    if shutil.which("java") is None:
        pytest.skip("there is no java (Debian: default-jre-headless)")
    if "AIFA_HIVE_JARS" in os.environ:
        return Path(os.environ["AIFA_HIVE_JARS"])
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        pytest.skip("pyspark 3.5 is not installed, whose jars have Hive's metastore; or name them in AIFA_HIVE_JARS")
    return Path(spec.origin).with_name("jars")


@contextlib.contextmanager
def metastore(folder: Path) -> Iterator[str]:
    """Hive's metastore, with all that it keeps in a folder; gives its URI."""
    from hive_metastore.ttypes import ShowLocksRequest  # noqa: PLC0415 - pyiceberg's, and needs thrift
    from pyiceberg.catalog.hive import HiveCatalog  # noqa: PLC0415

    with _started(folder, in_test=True) as uri:
        catalog = HiveCatalog("prepare", uri=uri)
        with catalog._client as client:
            client.show_locks(ShowLocksRequest())
    with _started(folder, in_test=False) as uri:
        yield uri


@contextlib.contextmanager
def _started(folder: Path, *, in_test: bool) -> Iterator[str]:
    found = jars()
    settings = folder / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "hive-site.xml").write_text(_SITE.format(folder=folder, in_test=str(in_test).lower()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = ["java", "-Xmx400m", "-cp", f"{settings}:{found}/*", _MAIN, "-p", str(port)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(process, port, folder / "log")
        yield f"thrift://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert process.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            assert time.monotonic() < end, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.2)
        else:
            return
