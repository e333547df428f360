"""sinfo: the partitions, and the sentence that says what this is not."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from aifa_hpc.slurm.hostlist import compress_hostlist

from .programs import VERSION
from .settings import NOTICE
from .show import names, span
from .words import Refusal, read_line, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import Limits, Settings

_OPTIONS = table(
    "all/a clusters/M= dead/d exact/e federation format/o= Format/O= future/F help hide iterate/i= list-reasons/R "
    "local long/l Node/N noconvert nodes/n= noheader/h partition/p= reservation/T responding/r sort/S= states/t= "
    "summarize/s usage verbose/v version/V"
)
_FIELD = re.compile(r"%(\.?)(\d*)([A-Za-z])|([^%]+)|%")
_FIELDS: dict[str, tuple[str, Callable[[str, Limits, bool], object]]] = {
    "a": ("AVAIL", lambda *_: "up"),
    "A": ("NODES(A/I)", lambda _name, limits, _default: f"0/{len(limits.hosts)}"),
    "c": ("CPUS", lambda _name, limits, _default: limits.cpus),
    "D": ("NODES", lambda _name, limits, _default: len(limits.hosts)),
    "f": ("AVAIL_FEATURES", lambda *_: "(null)"),
    "F": ("NODES(A/I/O/T)", lambda _name, limits, _default: f"0/{len(limits.hosts)}/0/{len(limits.hosts)}"),
    "G": ("GRES", lambda *_: "(null)"),
    "l": ("TIMELIMIT", lambda _name, limits, _default: span(limits.max_time, short=True)),
    "L": ("DEFAULTTIME", lambda _name, limits, _default: span(limits.default_time or limits.max_time, short=True)),
    "N": ("NODELIST", lambda _name, limits, _default: compress_hostlist(limits.hosts)),
    "P": ("PARTITION", lambda name, _limits, default: name + "*" * default),
    "R": ("PARTITION", lambda name, _limits, _default: name),
    "s": ("JOB_SIZE", lambda _name, limits, _default: f"1-{limits.max_nodes}"),
    "t": ("STATE", lambda *_: "idle"),
    "T": ("STATE", lambda *_: "idle"),
    "v": ("VERSION", lambda *_: VERSION),
}


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``sinfo ARGV``."""
    options = read_line("sinfo", _OPTIONS, argv, interleaved=True).options
    wanted = names(options.get("partition", "")) or set(settings.partitions)
    if "Format" in options:
        raise Refusal("sinfo: error: the embedded scheduler knows --format only")
    pieces = list(_FIELD.finditer(options.get("format", "%9P %.5a %.10l %.6D %.6t %N")))
    for piece in pieces:
        if piece[3] and piece[3] not in _FIELDS:
            raise Refusal(f"sinfo: error: Unknown format specification: {piece[3]}")
    if "noheader" not in options:
        sys.stderr.write(f"sinfo: {NOTICE}\n")
        sys.stdout.write(_line(pieces, lambda letter: _FIELDS[letter][0]))
    for name, limits in settings.partitions.items():
        if name in wanted:
            default = name == settings.default_partition
            values = {letter: str(value(name, limits, default)) for letter, (_, value) in _FIELDS.items()}
            sys.stdout.write(_line(pieces, values.__getitem__))
    return 0


def _line(pieces: Sequence[re.Match[str]], cell: Callable[[str], str]) -> str:
    text = ""
    for right, size, letter, between in (piece.groups() for piece in pieces):
        if letter is None:
            text += between or ""
            continue
        shown = cell(letter)
        if size:
            shown = shown[: int(size)].rjust(int(size)) if right else shown[: int(size)].ljust(int(size))
        text += shown
    return text.rstrip() + "\n"
