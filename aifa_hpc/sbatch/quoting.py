"""Values to shell words, so that none becomes program text or begins a line of a script."""

from __future__ import annotations

import re
import shlex
from typing import Any

import jinja2
from markupsafe import Markup


class Raw(Markup):
    """Text that is shell already, or a comment: not quoted again.

    Jinja marks what templates lay out as ``Markup``, so blocks, macros and ``super()`` pass as they are, too.
    """

    __slots__ = ()


_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def quote(value: Any) -> Any:
    """What a template expression becomes: one shell word, or words."""
    if isinstance(value, (Markup, jinja2.Undefined)):
        return value
    if isinstance(value, tuple | list):
        return Raw(" ".join(quote(item) for item in value))
    if value is None:
        raise TypeError("a value is None here; ask `{% if ... %}` first")
    text = str(value)
    return Raw(_ansi_c(text) if _CONTROL.search(text) else shlex.quote(text))


def _ansi_c(text: str) -> str:
    """bash(1) QUOTING, ``$'...'``: one line, whatever the text."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _CONTROL.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), escaped) + "'"


def word(text: object) -> Raw:
    """Shell that a template laid out, as one word for another shell; it keeps its lines."""
    return Raw(shlex.quote(str(text)))


def comment(text: object) -> Raw:
    """Text that is safe behind a ``#``: one line."""
    return Raw(" ".join(str(text).split()))
