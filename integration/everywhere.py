"""Runs a test on all clusters at the same time: what it does there is mostly to wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from integration.conftest import SITES, User, make_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def on_all_sites(test: Callable[[User], None]) -> Callable[[None, Path], None]:
    """A test of one user, run for a user of each cluster, who has logged in where a person has to.

    It fails when one of them does, and says which.
    """

    def run(clusters: None, tmp_path: Path) -> None:
        del clusters
        with ThreadPoolExecutor(len(SITES)) as pool:
            done = {site: pool.submit(_run, test, tmp_path / site, site) for site in SITES}
        failed = {site: error for site, future in done.items() if (error := future.exception()) is not None}
        # A test that is left out at one site is none that passed, and one that failed at the other is told first.
        for site, error in sorted(failed.items(), key=lambda item: isinstance(item[1], pytest.skip.Exception)):
            error.add_note(f"at {site}; failed at {', '.join(failed)}")
            raise error

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run


def _run(test: Callable[[User], None], home: Path, site: str) -> None:
    user = make_user(home, site, "openssh")
    ran = user.aifa("login", user.site)
    assert 0 == ran.code, ran.err
    test(user)
