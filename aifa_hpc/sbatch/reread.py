"""Writes one ``#SBATCH`` directive, and reads the directives of a script as sbatch would.

sbatch splits a directive at white space, groups with single and double quotes also inside a word, takes a backslash as
an escape of anything but an open space, and cuts the line at a ``#`` that is in no quotes; it stops at the first line
that is neither a comment nor blank. That is the behaviour of ``sbatch -vvv`` 22.05.8, which prints what it found;
sbatch(1) tells only where reading stops.
"""

from __future__ import annotations

import re
import shlex

from aifa_hpc.errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,./_-]+", re.ASCII)
_ESCAPED = re.compile(r"\\(.?)")
_PIECE = re.compile(
    r"""(?P<escaped>\\\S?)|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<unclosed>["'])"""
    r"""|(?P<space>\s+)|(?P<comment>[#])|(?P<plain>[^\\"'\s#]+)""",
    re.ASCII,
)
_SHORT = {
    "A": "account",
    "c": "cpus-per-task",
    "D": "chdir",
    "J": "job-name",
    "N": "nodes",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "t": "time",
}


def write_directive(option: str, value: str) -> str:
    """``--option=value``, quoted where sbatch's own splitting would break it; ``--option`` when there is no value.

    ``hetjob`` alone stands between the components of a heterogeneous job.

    Raises:
        InputError: The value holds a control character, a quote or a backslash, which no directive carries safely.
    """
    if any(character in "\"'\\\u2028\u2029\x85\x7f" or character < " " for character in value):
        raise InputError(
            f"--{option} = {value!r}: a #SBATCH line cannot carry line breaks, quotes or backslashes;"
            " choose a value (or a folder) without them"
        )
    if not value:
        return option if option == "hetjob" else f"--{option}"
    return f"--{option}={value}" if _PLAIN.fullmatch(value) else f'--{option}="{value}"'


def read_directives(script: str) -> tuple[tuple[str, str], ...]:
    """The ``(option, value)`` pairs of a script, in order; an option without a value has an empty one.

    The letters of options that this library writes become their names: ``-A x`` is ``account``.

    Raises:
        InputError: A quote is not closed, where sbatch gives up as well.
    """
    pairs: list[tuple[str, str]] = []
    for line in script.split("\n"):
        if line.startswith("#SBATCH"):
            pairs += _options(_words(line.removeprefix("#SBATCH")))
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return tuple(pairs)


def read_salloc(lines: str) -> tuple[tuple[str, str], ...]:
    """The ``(option, value)`` pairs of the line that begins with ``salloc``, split as a POSIX shell does."""
    for line in lines.split("\n"):
        if line.startswith("salloc "):
            return tuple(_options(shlex.split(line)[1:]))
    return ()


def _options(words: list[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--"):
            option, _, value = word[2:].partition("=")
            pairs.append((option, value))
        elif word.startswith("-") and len(word) > 1:
            pairs.append((_SHORT.get(word[1], word[1]), word[2:]))
        elif pairs and not pairs[-1][1]:  # the value of the option before
            pairs[-1] = (pairs[-1][0], word)
        else:
            pairs.append((word, ""))
    return pairs


def _words(line: str) -> list[str]:
    words: list[str] = []
    inside = False
    for match in _PIECE.finditer(line):
        kind, text = match.lastgroup, match[0]
        if kind == "unclosed":
            raise InputError(f"#SBATCH{line}: a quote is not closed, so sbatch would refuse the script")
        if kind == "comment":
            break
        if kind == "space":
            inside = False
            continue
        if kind == "quoted":
            text = text[1:-1]
        if kind != "plain":
            text = _ESCAPED.sub(r"\1", text)
        words[len(words) - inside :] = [(words[-1] if inside else "") + text]
        inside = True
    return words


def components_of(pairs: tuple[tuple[str, str], ...]) -> list[list[tuple[str, str]]]:
    """The directives of each component of a heterogeneous job; of a plain one there is one."""
    found: list[list[tuple[str, str]]] = [[]]
    for pair in pairs:
        if pair[0] == "hetjob":
            found.append([])
        else:
            found[-1].append(pair)
    return found
