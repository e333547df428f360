"""Writes one ``#SBATCH`` directive, and reads the directives of a script as sbatch would.

sbatch splits a directive at white space, takes single and double quotes and backslashes, and cuts it at ``#``; reading
stops at the first line that is neither a comment nor blank (sbatch(1), "Batch scripts").
"""

from __future__ import annotations

import re
import shlex

from aifa_hpc.errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+", re.ASCII)


def write_directive(option: str, value: str) -> str:
    """``--option=value``, quoted where sbatch's own splitting would break it.

    Raises:
        InputError: The value holds a line break or a quote, which no directive can carry safely.
    """
    if any(character in value for character in "\n\r\0\"'\\"):
        raise InputError(
            f"--{option} = {value!r}: a #SBATCH line cannot carry line breaks, quotes or backslashes;"
            " choose a value (or a folder) without them"
        )
    return f"--{option}={value}" if _PLAIN.fullmatch(value) else f'--{option}="{value}"'


def read_directives(script: str) -> tuple[tuple[str, str], ...]:
    """The ``(option, value)`` pairs of a script, in order; an option without a value has an empty one."""
    pairs = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            words = shlex.split(line.removeprefix("#SBATCH"), comments=True)
            for word in words:
                option, _, value = word.partition("=")
                pairs.append((option.lstrip("-"), value))
    return tuple(pairs)
