"""What a copy tells while it works; the silent one says nothing, so nobody has to ask whether there is one."""

from __future__ import annotations


class Progress:
    """Told of everything; subclasses show it. Calls come from several threads, one at a time."""

    def start(self, files: int, size: int) -> None:
        """The copy begins: so many files, so many bytes in total."""

    def checking(self, files: int) -> None:
        """So many files are the same size on both sides and are compared by hash."""

    def skipped(self, size: int) -> None:
        """A file of that many bytes is there already."""

    def resumed(self, size: int) -> None:
        """That many bytes of a file arrived in an earlier run."""

    def advance(self, size: int) -> None:
        """That many bytes were sent; negative when some of them must be sent again."""

    def finished(self, path: str) -> None:
        """A file was published."""


silent = Progress()
"""Shows nothing."""
