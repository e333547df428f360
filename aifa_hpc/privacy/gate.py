"""Decides whether data may leave, and gives out the :class:`Clearance` that every transfer demands.

Data has a class that a person states: ``open`` (may be public), ``internal`` (may go to machines of the project) or
``sensitive`` (personal or confidential; stays). What comes back from a machine to here needs no class.
"""

from __future__ import annotations

import difflib
from dataclasses import InitVar, dataclass
from typing import Literal

from aifa_hpc.errors import InputError

DataClass = Literal["open", "internal"]

OPEN_CLASSES: tuple[DataClass, ...] = ("open", "internal")
CLASSES = (*OPEN_CLASSES, "sensitive")

_GATE = object()


@dataclass(frozen=True, kw_only=True)
class Clearance:
    """Leave to transfer; only :func:`clear` can make one.

    Attributes:
        data_class: What the user stated; ``None`` for what comes back.
        outgoing: It covers data that leaves this machine.
    """

    data_class: DataClass | None
    outgoing: bool
    issued_by: InitVar[object] = None

    def __post_init__(self, issued_by: object) -> None:
        if issued_by is not _GATE:
            raise TypeError("a Clearance is given out by aifa_hpc.privacy.gate.clear and cannot be made elsewhere")

    def __reduce__(self) -> str:
        raise TypeError("a Clearance cannot be stored or sent: ask the gate again")


def clear(data_class: str | None, *, outgoing: bool) -> Clearance:
    """Leave to transfer data of that class.

    Args:
        data_class: ``open``, ``internal`` or ``sensitive``; ``None`` when nobody said.
        outgoing: Data leaves this machine; results that come back need no class.

    Raises:
        InputError: The data is sensitive, or leaves without a class, or the class is not known.
    """
    if data_class is None:
        if outgoing:
            raise InputError(
                "data that leaves this machine needs a class.",
                hint="Say what it is with `--class open|internal`; sensitive data stays where it is.",
            )
        return Clearance(data_class=None, outgoing=False, issued_by=_GATE)
    if data_class not in CLASSES:
        near = difflib.get_close_matches(data_class, CLASSES, 1)
        raise InputError(
            f"data class {data_class!r} is not known: it is one of {', '.join(CLASSES)}.",
            hint=f"Did you mean {near[0]!r}?" if near else "",
        )
    if data_class == "sensitive" and outgoing:
        raise InputError(
            "sensitive data is not sent: shared supercomputers hold no personal or confidential data in the clear.",
            hint="Pseudonymise or aggregate it first, then state the class of the result: `--class internal`.",
        )
    stated = data_class if data_class in OPEN_CLASSES else None
    return Clearance(data_class=stated, outgoing=outgoing, issued_by=_GATE)
