"""A real terminal for programs that draw: tmux, whose screen can be read and whose keys can be pressed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_SECONDS = 60.0


class Terminal:
    """A window with one program in it.

    Args:
        socket: tmux's own, of a server that has this window only.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        """Runs a command of tmux."""
        words = ("tmux", "-S", str(self._socket), "-f", "/dev/null", *words)
        # tmux refuses to work where the locale is not UTF-8.
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        ran = subprocess.run(words, capture_output=True, encoding="utf-8", check=False, timeout=20, env=env)
        assert 0 == ran.returncode, ran.stderr
        return ran.stdout

    def press(self, *keys: str) -> None:
        """Presses keys, as tmux names them."""
        self.tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        """Makes the window so many columns wide and lines high."""
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def lines(self) -> list[str]:
        """What it shows."""
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def until(self, done: Callable[[list[str]], bool]) -> list[str]:
        """Waits until it shows what fits, and returns that."""
        deadline = time.monotonic() + _SECONDS
        while not done(lines := self.lines):
            assert time.monotonic() < deadline, "\n".join(lines)
            time.sleep(0.2)
        return lines

    def shows(self, *texts: str) -> list[str]:
        """Waits until it shows all of these."""
        return self.until(lambda lines: all(text in "\n".join(lines) for text in texts))


@contextmanager
def open_terminal(
    home: Path, program: Sequence[str], env: Mapping[str, str], *, width: int = 80, height: int = 24
) -> Iterator[Terminal]:
    """A terminal in which a program runs, and after it a shell says its exit code.

    The test is skipped where there is no tmux.
    """
    if shutil.which("tmux") is None:
        pytest.skip("no tmux here: `python -m integration.cluster needs --install` installs it on Debian")
    # A server that ends still holds its socket for a moment.
    terminal = Terminal(home / f"tmux-{secrets.token_hex(3)}")
    shape = ("-x", str(width), "-y", str(height))
    ours = [word for key in ("AIFA_STATE_DIR", "AIFA_CONFIG_DIR") for word in ("-e", f"{key}={env[key]}")]
    command = ["sh", "-c", '"$@"; echo "left with $?"; exec cat', "sh", *program]
    terminal.tmux("new-session", "-d", *shape, *ours, "-e", "LANG=C.UTF-8", "-c", str(home), *command)
    try:
        yield terminal
    finally:
        terminal.tmux("kill-server")
