"""What several of these tests need."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder whose path is short enough for a socket, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="aifa", dir="/tmp") as folder:
        yield Path(folder)
