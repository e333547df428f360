"""A way to a machine on which the remote agent's answers come twice and out of order.

::

    transport = Scrambled(LocalTransport(), random.Random(1))
    ...                                 # copy through it
    assert transport.reordered and transport.doubled
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aifa_hpc.staging.wire import PREFIX, Kind, after_magic, decode_prefix
from aifa_hpc.transport.base import Channel, Transport

if TYPE_CHECKING:
    import random

    from aifa_hpc.command import Command, Completed

_PIECE = 2**20
_PAUSE_SECONDS = 0.01
"""Answers of that time come together, so that there are some to change the order of."""


class Scrambled(Transport):
    """Another transport, whose channels carry an agent's answers badly.

    Args:
        inner: The way to the machine.
        chance: What becomes of each answer.

    Attributes:
        reordered: Answers that came before an earlier one.
        doubled: Answers that came twice.
    """

    def __init__(self, inner: Transport, chance: random.Random) -> None:
        self._inner, self.chance = inner, chance
        self.reordered = self.doubled = 0

    def run(self, command: Command) -> Completed:
        """As it is."""
        return self._inner.run(command)

    def open(self, command: Command) -> Channel:
        """One whose answers are scrambled."""
        return _Channel(self, self._inner.open(command))

    def close(self) -> None:
        """Closes the inner one."""
        self._inner.close()

    def scrambled(self, answers: list[bytes]) -> list[bytes]:
        """Answers that came together, in another order and some of them twice."""
        drawn = self.chance.sample(answers, len(answers))
        self.reordered += sum(one is not other for one, other in zip(drawn, answers, strict=True))
        again = [one for one in drawn if self.chance.random() < 1 / 2]
        self.doubled += len(again)
        return drawn + again


class PassingChannel(Channel):
    """Another channel as it is; who inherits from it changes what passes."""

    def __init__(self, inner: Channel) -> None:
        self._inner = inner

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self._inner.send(data)

    def receive_into(self, view: memoryview) -> int:
        return self._inner.receive_into(view)

    def finish_input(self) -> None:
        self._inner.finish_input()

    def stderr_tail(self) -> str:
        return self._inner.stderr_tail()

    def close(self) -> int:
        return self._inner.close()


class _Channel(PassingChannel):
    def __init__(self, owner: Scrambled, inner: Channel) -> None:
        super().__init__(inner)
        self._owner = owner
        self._raw, self._ready = bytearray(), bytearray()
        self._greeted = False
        self._piece = memoryview(bytearray(_PIECE))

    def receive_into(self, view: memoryview) -> int:
        while not self._ready:
            time.sleep(_PAUSE_SECONDS)
            count = self._inner.receive_into(self._piece)
            if not count:
                return 0
            self._raw += self._piece[:count]
            self._sort()
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        del self._ready[:count]
        return count

    def _sort(self) -> None:
        """Passes on whole frames; the answers among them, which carry nothing more, scrambled."""
        if not self._greeted:
            begin = after_magic(self._raw)
            if begin < 0:
                return
            self._greeted = True
            self._ready += self._raw[:begin]
            del self._raw[:begin]
        answers: list[bytes] = []
        while (frame := self._frame()) is not None:
            prefix = decode_prefix(frame[: PREFIX.size])
            if prefix.kind is Kind.REPLY and prefix.call:  # the agent's hello has no number, and is the first
                answers.append(frame)
            else:
                self._ready += frame
        self._ready += b"".join(self._owner.scrambled(answers))

    def _frame(self) -> bytes | None:
        if len(self._raw) < PREFIX.size:
            return None
        prefix = decode_prefix(self._raw[: PREFIX.size])
        size = PREFIX.size + prefix.header + prefix.body
        if len(self._raw) < size:
            return None
        frame = bytes(self._raw[:size])
        del self._raw[:size]
        return frame
