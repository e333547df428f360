"""Command lines of Slurm's programs: which options exist, and how they are read.

The rules are those of getopt_long(3): ``--name=value``, ``--name value``, any unambiguous beginning of a name, short
options alone, joined (``-hr``) or with their value attached (``-n4``). The words of refusals are those of the real
programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

PARSING_EXIT = 255
"""What Slurm's sbatch and srun exit with when an option is wrong (seen with 22.05.8)."""


class Refusal(Exception):  # noqa: N818 - not an error of this program: an answer it gives
    """What a program says instead of doing its work.

    Attributes:
        lines: For standard error, as they are.
        exit_code: What it exits with.
    """

    def __init__(self, *lines: str, exit_code: int = 1) -> None:
        self.lines = lines
        self.exit_code = exit_code
        super().__init__("\n".join(lines))


class Option(NamedTuple):
    """An option: its name, its letter, and whether it takes a value (``no``, ``yes``, ``maybe``)."""

    name: str
    letter: str = ""
    value: str = "yes"


def table(text: str) -> tuple[Option, ...]:
    """Options from words like ``time/t=``, ``hold/H`` and ``exclusive=?``."""
    options = []
    for word in text.split():
        names, equals, mark = word.partition("=")
        name, _, letter = names.partition("/")
        options.append(Option(name, letter, "no" if not equals else "maybe" if mark else "yes"))
    return tuple(options)


class Line(NamedTuple):
    """A command line that was read: the last value of each option, and the words after the options."""

    options: dict[str, str]
    words: list[str]


def read_line(
    program: str, options: Sequence[Option], argv: Sequence[str], *, interleaved: bool = False, exit_code: int = 1
) -> Line:
    """Reads a command line.

    Args:
        program: Its name, for what it says.
        options: What it knows.
        argv: The words after its name.
        interleaved: Options may also come after other words.
        exit_code: Of a refusal.

    Raises:
        Refusal: An unknown option, or one without its value.
    """
    found: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)

    def refuse(what: str) -> NoReturn:
        raise Refusal(f"{program}: {what}", f'Try "{program} --help" for more information', exit_code=exit_code)

    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            matches = [option for option in options if option.name == name] or [
                option for option in options if option.name.startswith(name)
            ]
            if not matches:
                refuse(f"unrecognized option '{word.partition('=')[0]}'")
            if len(matches) > 1:
                possible = " ".join(f"'--{option.name}'" for option in matches)
                refuse(f"option '--{name}' is ambiguous; possibilities: {possible}")
            option = matches[0]
            if option.value == "no" and equals:
                refuse(f"option '--{option.name}' doesn't allow an argument")
            if option.value == "yes" and not equals:
                if not rest:
                    refuse(f"option '--{option.name}' requires an argument")
                value = rest.pop(0)
            found[option.name] = value
        elif word.startswith("-") and word != "-":
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                short = next((option for option in options if option.letter == letter), None)
                if short is None:
                    refuse(f"invalid option -- '{letter}'")
                value = ""
                if short.value != "no":
                    value, letters = letters, ""
                    if short.value == "yes" and not value:
                        if not rest:
                            refuse(f"option requires an argument -- '{letter}'")
                        value = rest.pop(0)
                    value = value.removeprefix("=") if short.value == "maybe" else value
                found[short.name] = value
        else:
            words.append(word)
            if not interleaved:
                words += rest
                break
    return Line(found, words)
