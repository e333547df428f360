"""How long a catalog may take."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError, SiteError
from aifa_hpc.lakehouse.catalogs import within
from aifa_hpc.lakehouse.iceberg import open_table
from aifa_hpc.lakehouse.names import read_table_name

if TYPE_CHECKING:
    from pathlib import Path


def test_what_takes_too_long_is_left_behind() -> None:
    """What comes in time is given, errors too."""
    end = threading.Event()
    try:
        with pytest.raises(SiteError, match=r"nobody answers within 0\.01 seconds"):
            within(0.01, end.wait, "nobody answers")
    finally:
        end.set()
    assert 3 == within(60, lambda: 1 + 2, "")
    with pytest.raises(KeyError, match="x"):
        within(60, lambda: {}["x"], "")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_a_patience_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: str) -> None:
    """The catalog and the key are named."""
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__LAB__AIFA__SECONDS", seconds)
    with pytest.raises(InputError, match=f"catalog lab: aifa.seconds = '{seconds}' must be"):
        open_table(read_table_name("iceberg:lab.d.t"))
