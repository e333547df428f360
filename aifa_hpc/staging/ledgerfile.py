"""The file of the ledger: its tables, how an older one is taken up to them, and what it means when SQLite refuses."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MIGRATIONS = (
    """
    CREATE TABLE content (
        place TEXT NOT NULL, path BLOB NOT NULL, pin TEXT NOT NULL, blocks BLOB NOT NULL, PRIMARY KEY (place, path)
    ) WITHOUT ROWID;
    CREATE TABLE unfinished (
        place TEXT NOT NULL, path BLOB NOT NULL, token TEXT NOT NULL, fingerprint TEXT NOT NULL,
        part INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (place, path)
    ) WITHOUT ROWID;
    CREATE TABLE part (
        place TEXT NOT NULL, path BLOB NOT NULL, number INTEGER NOT NULL, blocks BLOB NOT NULL, md5 BLOB NOT NULL,
        PRIMARY KEY (place, path, number)
    ) WITHOUT ROWID;
    CREATE TABLE running (place TEXT PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL);
    """,
    """
    CREATE TABLE copy (
        place TEXT NOT NULL, source TEXT NOT NULL, destination TEXT NOT NULL, begun REAL NOT NULL, ended REAL,
        files INTEGER NOT NULL, bytes INTEGER NOT NULL, problem TEXT NOT NULL, PRIMARY KEY (place, source)
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE copy ADD COLUMN done INTEGER NOT NULL DEFAULT 0",
)
"""Each takes the database one version up; new ones are added at the end and old ones are never edited."""


def refusal(error: sqlite3.Error) -> tuple[str, str]:
    """Why SQLite refused, and what to do next."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    where = "or set $AIFA_STATE_DIR to a folder elsewhere, and run the same command again; what arrived is kept."
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full", f"Free some space on this machine, {where}"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return "another process has held it for half a minute", "Wait for that one and run the same command again."
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return f"it is damaged ({error})", "Run the same command again: it is begun anew, and files are hashed again."
    return str(error), f"Check the folder and its disk, {where}"


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, made when it is not there, as this version has it.

    Raises:
        InputError: It is of a newer version.
        OSError: It cannot be made.
        sqlite3.Error: It cannot be used, or is damaged.
    """
    # Made by hand first: SQLite would make it with the umask's mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    base = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        base.execute("PRAGMA synchronous = NORMAL")
        _migrate(base)
    except BaseException:
        base.close()
        raise
    return base


def _migrate(base: sqlite3.Connection) -> None:
    """Each migration and the version it leads to are one transaction."""
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise InputError(
            f"the ledger is of version {version}, and this program knows versions up to {len(MIGRATIONS)}.",
            hint="Use the newer program, or another $AIFA_STATE_DIR.",
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        base.execute("BEGIN IMMEDIATE")
        if base.execute("PRAGMA user_version").fetchone()[0] >= number:
            base.rollback()  # another process was faster
            continue
        for statement in script.split(";"):
            base.execute(statement)
        base.execute(f"PRAGMA user_version = {number}")
        base.commit()
