"""How many commands run at once, after refusals and after a quiet time."""

from __future__ import annotations

from aifa_hpc.transport.gate import Gate


def test_refusals_shrink_it_to_those_who_are_inside() -> None:
    """Of eight, six are refused: two get along, and nobody else is let in beside them."""
    gate = Gate(8)
    assert all(gate.enter(0) for _ in range(8))
    assert not gate.enter(0)
    for _ in range(6):
        gate.leave(refused=True)
    assert (2, False) == (gate.limit, gate.enter(0))
    gate.leave(refused=False)
    assert gate.enter(0)


def test_one_is_always_let_in_and_quiet_opens_it_again() -> None:
    """Whatever took the channels may be gone: one more after a good while, up to the most."""
    gate = Gate(2)
    assert gate.enter(0)
    gate.leave(refused=True)
    assert 1 == gate.limit
    for _ in range(100):
        assert gate.enter(0)
        gate.leave(refused=False)
    assert 2 == gate.limit
