# ruff: noqa: PLC0415 - imported where it is used, so that programs without it start faster
"""A scheduler inside the library: Slurm's commands answered by running batch scripts as processes of this machine.

It lets everything above a transport be tried and tested without a cluster. It is not Slurm: :data:`NOTICE` says what it
leaves out. Names are loaded when asked for, because every ``squeue`` it answers starts a Python of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .settings import NOTICE
    from .transport import EmbeddedTransport

__all__ = ["NOTICE", "EmbeddedTransport"]


def __getattr__(name: str) -> Any:
    if name == "EmbeddedTransport":
        from .transport import EmbeddedTransport

        return EmbeddedTransport
    if name == "NOTICE":
        from .settings import NOTICE

        return NOTICE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
