"""The gate: what leaves has a class, what is sensitive stays, and nobody else gives leave."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.privacy.gate import Clearance, clear


@pytest.mark.parametrize("data_class", ["open", "internal"])
def test_open_and_internal_data_may_leave(data_class: str) -> None:
    """The clearance says what was stated."""
    given = clear(data_class, outgoing=True)
    assert (data_class, True) == (given.data_class, given.outgoing)


def test_data_without_a_class_does_not_leave() -> None:
    """The error shows the option that is missing."""
    with pytest.raises(InputError, match=r"--class open\|internal"):
        clear(None, outgoing=True)


def test_results_come_back_without_a_class() -> None:
    """And that clearance covers nothing that leaves."""
    assert not clear(None, outgoing=False).outgoing


def test_sensitive_data_does_not_leave() -> None:
    """The error says why and what to do instead."""
    with pytest.raises(InputError, match=r"sensitive data is not sent.*[Pp]seudonymise"):
        clear("sensitive", outgoing=True)


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    """A slip of the finger is not taken for a class."""
    with pytest.raises(InputError, match=r"'opne' is not known.*'open'"):
        clear("opne", outgoing=False)


def test_a_clearance_cannot_be_made_copied_or_stored() -> None:
    """Only the gate gives leave: that nothing goes unchecked is a type, not a habit."""
    with pytest.raises(TypeError, match=r"privacy\.gate\.clear"):
        Clearance(data_class="open", outgoing=True)
    with pytest.raises(TypeError, match="ask the gate again"):
        pickle.dumps(clear("open", outgoing=True))
    with pytest.raises(TypeError, match="ask the gate again"):
        copy.deepcopy(clear("open", outgoing=True))
    with pytest.raises(TypeError, match=r"privacy\.gate\.clear"):
        replace(clear(None, outgoing=False), outgoing=True)


def test_a_clearance_does_not_show_its_key() -> None:
    """What is printed cannot be used to make another."""
    assert repr(clear("open", outgoing=True)) == "Clearance(data_class='open', outgoing=True)"
