"""Where the messages of an SSH connection end, seen from outside: lengths only, no keys and no contents.

A packet begins with its length (RFC 4253, 6). Under AES-GCM that stays in the clear and a tag of 16 bytes follows
(RFC 5647, 7.3); both transports of this package choose AES-GCM where the server has it. Under chacha20-poly1305 the
length is hidden, and such a connection has no messages for whoever listens.
"""

from __future__ import annotations

_NEWKEYS = 21  # SSH_MSG_NEWKEYS (RFC 4253, 12): what follows in this direction is encrypted
_TAG_BYTES = 16
_LENGTH_BYTES = 4
_KIND = 5  # behind the length and the number of padding bytes
# RFC 4253, 6.1 demands 35000 of all; OpenSSH takes 256 KiB (PACKET_MAX_SIZE). More is no length of a packet.
_LONGEST = 256 * 1024


class Boundaries:
    """The ends of messages in one direction of one connection, fed with its bytes as they pass."""

    def __init__(self) -> None:
        self._held = bytearray()  # the part of a message that has passed
        self._greeted = False
        self._encrypted = False

    def ends(self, data: bytes) -> list[int]:
        """Offsets in ``data`` behind each message that ends in it.

        Raises:
            ValueError: The lengths cannot be read: the cipher hides them, or this is no SSH.
        """
        before = len(self._held)
        self._held += data
        passed, found = 0, []
        while (size := self._size(passed)) is not None and passed + size <= len(self._held):
            if not self._greeted:
                self._greeted = True
            elif self._held[passed + _KIND] == _NEWKEYS and not self._encrypted:
                self._encrypted = True
            passed += size
            found.append(passed - before)
        del self._held[:passed]
        return found

    def _size(self, start: int) -> int | None:
        """Bytes of the message that begins there; ``None`` while that cannot be said."""
        if not self._greeted:
            end = self._held.find(b"\n", start)
            return None if end < 0 else end + 1 - start
        if len(self._held) < start + _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._held[start : start + _LENGTH_BYTES], "big")
        if not _LENGTH_BYTES < length <= _LONGEST:
            raise ValueError(f"{length} is no length of an SSH packet: the cipher is not AES-GCM, or this is no SSH")
        return _LENGTH_BYTES + length + (_TAG_BYTES if self._encrypted else 0)
