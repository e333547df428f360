"""The pytest plugin: servers and networks that can be broken, for the tests of whatever talks to a cluster.

It is there wherever this package is installed; a fixture costs nothing until a test asks for it.

========================  ==============================================================================
``aifa_sshd``             a private sshd, see :class:`aifa_hpc.testing.sshd.Sshd`
``aifa_sshd_with_totp``   one that asks for a code after the key; skipped where PAM cannot be used
``aifa_proxy``            a proxy before ``aifa_sshd``, see :class:`aifa_hpc.testing.proxy.Proxy`
``aifa_clock``            a clock that jumps, see :class:`aifa_hpc.testing.faults.Clock`
``aifa_random``           random numbers whose seed is shown when a test fails, or given by ``$AIFA_TEST_SEED``
``aifa_figures``          keeps figures of a test, which are printed as a table at the end of the run
========================  ==============================================================================
"""

from __future__ import annotations

import os
import random
import secrets
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.testing.faults import Clock
    from aifa_hpc.testing.proxy import Proxy
    from aifa_hpc.testing.sshd import Sshd

_FIGURES: pytest.StashKey[list[tuple[str, dict[str, object]]]] = pytest.StashKey()


class Figures(Protocol):
    """What ``aifa_figures`` is."""

    def __call__(self, **figures: object) -> None:
        """Keeps one line of the table, under the test's name."""


@pytest.fixture
def aifa_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A private sshd on the loopback, with sshd's own limits."""
    from aifa_hpc.testing.sshd import Sshd  # noqa: PLC0415 - the plugin is loaded in every run of pytest

    with Sshd.started(tmp_path_factory.mktemp("aifa-sshd")) as server:
        yield server


@pytest.fixture
def aifa_sshd_with_totp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A private sshd that asks for a time-based code after the key; ``second_factor.code(time.time())`` is it."""
    from aifa_hpc.testing.sshd import SecondFactor, Sshd  # noqa: PLC0415 - as above

    factor = SecondFactor()
    if lacking := factor.lacking():
        pytest.skip(lacking)
    with Sshd.started(tmp_path_factory.mktemp("aifa-totp"), second_factor=factor) as server:
        yield server


@pytest.fixture
def aifa_proxy(aifa_sshd: Sshd) -> Iterator[Proxy]:
    """A proxy before ``aifa_sshd``, whose ssh_config leads through it."""
    from aifa_hpc.testing.proxy import Proxy  # noqa: PLC0415 - as above

    with Proxy(aifa_sshd.port) as proxy:
        aifa_sshd.write_config(f"Port {proxy.port}", f"HostKeyAlias [127.0.0.1]:{aifa_sshd.port}")
        yield proxy


@pytest.fixture
def aifa_clock() -> Clock:
    """A clock that jumps."""
    from aifa_hpc.testing.faults import Clock  # noqa: PLC0415 - as above

    return Clock()


@pytest.fixture
def aifa_random() -> random.Random:
    """Random numbers; the same again with the seed that a failed test shows."""
    seed = int(os.environ.get("AIFA_TEST_SEED") or secrets.randbelow(2**32))
    print(f"AIFA_TEST_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311 - for tests


@pytest.fixture
def aifa_figures(request: pytest.FixtureRequest) -> Figures:
    """Keeps figures for the table at the end of the run."""

    def keep(**figures: object) -> None:
        request.config.stash.setdefault(_FIGURES, []).append((request.node.name, figures))

    return keep


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the figures that tests kept."""
    kept = config.stash.get(_FIGURES, [])
    if not kept:
        return
    terminalreporter.section("figures")
    width = max(len(name) for name, _ in kept)
    for name, figures in kept:
        shown = "  ".join(f"{key.replace('_', ' ')}: {value}" for key, value in figures.items())
        terminalreporter.write_line(f"{name:{width}}  {shown}")
