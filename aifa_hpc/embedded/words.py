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
    reader = _Reader(program, options, argv, exit_code)
    words: list[str] = []
    while reader.rest:
        word = reader.rest.pop(0)
        if word == "--":
            words += reader.rest
            break
        if word.startswith("--"):
            reader.read_long(word)
        elif word.startswith("-") and word != "-":
            reader.read_short(word[1:])
        elif interleaved:
            words.append(word)
        else:
            words += [word, *reader.rest]
            break
    return Line(reader.found, words)


class _Reader:
    """The words that are still to be read, and the options found so far."""

    def __init__(self, program: str, options: Sequence[Option], argv: Sequence[str], exit_code: int) -> None:
        self.program, self.options, self.exit_code = program, options, exit_code
        self.rest = list(argv)
        self.found: dict[str, str] = {}

    def read_long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        option = self._named(name)
        if option.value == "no" and equals:
            self._refuse(f"option '--{option.name}' doesn't allow an argument")
        if option.value == "yes" and not equals:
            value = self._next(f"option '--{option.name}' requires an argument")
        self.found[option.name] = value

    def read_short(self, letters: str) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            option = next((option for option in self.options if option.letter == letter), None)
            if option is None:
                self._refuse(f"invalid option -- '{letter}'")
            if option.value == "no":
                self.found[option.name] = ""
                continue
            if option.value == "yes" and not letters:
                letters = self._next(f"option requires an argument -- '{letter}'")
            self.found[option.name] = letters
            return

    def _named(self, name: str) -> Option:
        matches = [option for option in self.options if option.name == name]
        matches = matches or [option for option in self.options if option.name.startswith(name)]
        if not matches:
            self._refuse(f"unrecognized option '--{name}'")
        if len(matches) > 1:
            possible = " ".join(f"'--{option.name}'" for option in matches)
            self._refuse(f"option '--{name}' is ambiguous; possibilities: {possible}")
        return matches[0]

    def _next(self, complaint: str) -> str:
        if not self.rest:
            self._refuse(complaint)
        return self.rest.pop(0)

    def _refuse(self, what: str) -> NoReturn:
        raise Refusal(
            f"{self.program}: {what}",
            f'Try "{self.program} --help" for more information',
            exit_code=self.exit_code,
        )
