"""Reads what is new in any number of logs with one command.

A log is asked for by its own path, or with all others whose paths begin alike (the tasks and ranks of a job). For each
file that was read before, the site is told its inode and how far. Only files that grew, shrank or were replaced answer,
each in a frame of its own. A file that goes on is read from :data:`OVERLAP` bytes before that place, because Slurm may
cut a log at a requeue and the new attempt may have grown past it before anybody looks: whether it still is the same
text shows in these bytes.

What comes back in one answer is bounded, and shared by the files that have something to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aifa_hpc.command import shell
from aifa_hpc.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aifa_hpc.command import Flow

OVERLAP = 64
"""Bytes before the place where reading goes on."""

LEAST_SHARE = 4096
"""Bytes that a file gets of an answer, if any."""

_READ = """
mark=$1 limit=$2 ending=$3 lines=$4 turn=$5
export LC_ALL=C
unset TIME_STYLE QUOTING_STYLE
asked=$(cat)
wanted() {
  while IFS= read -r line; do
    path=${line#??}
    case $line in
      '* '*) set -- "$path"*"$ending" ;;
      '= '*) set -- "$path" ;;
      *) continue ;;
    esac
    for file do [ ! -e "$file" ] || printf '%s\\000' "$file"; done
  done
}
{
  printf '%s\\n\\n' "$asked"
  printf '%s\\n' "$asked" | wanted | xargs -0 ls -dniL -- /dev/null
} | awk -v limit="$limit" -v least="$6" -v overlap="$7" -v turn="$turn" '
  BEGIN { count = 0 }
  listing == 0 && $0 == "" { listing = 1; next }
  listing == 0 && /^[*=] / { begin = substr($0, 3); next }
  listing == 0 {
    name = $0
    sub(/^[+] [0-9]+ [0-9]+ /, "", name)
    inode[begin name] = $2; offset[begin name] = $3
    next
  }
  {
    path = $0
    for (i = 0; i < 9; i++) sub(/^ *[^ ]+ /, "", path)
    kind = substr($2, 1, 1)
    if (kind == "d") { print "folder 0 0 0 0 " path; next }
    if (kind != "-" || path in seen) next
    seen[path] = 1
    fresh = !(path in offset)
    if (fresh || inode[path] "" != $1 "" || $6 + 0 < offset[path] + 0) start = 0
    else if ($6 + 0 == offset[path] + 0) next
    else start = offset[path] > overlap ? offset[path] - overlap : 0
    if ($6 + 0 <= start && (fresh || $6 + 0 == 0 && offset[path] + 0 == 0)) next
    paths[count] = path; starts[count] = start; sizes[count] = $6; inodes[count] = $1; news[count++] = fresh
  }
  END {
    share = count ? int(limit / count) : limit
    if (share < least) share = least
    first = count ? (turn * int(limit / least)) % count : 0
    for (i = 0; i < count; i++) {
      k = (first + i) % count
      want = sizes[k] - starts[k]
      bytes = want < share ? want : share
      if (bytes > limit && want > 0) { more = 1; continue }
      limit -= bytes
      if (bytes < want) more = 1
      printf "%s %.0f %.0f %.0f %d %s\\n", inodes[k], sizes[k], starts[k], bytes, news[k], paths[k]
    }
    print "done", more + 0, 0, 0, 0
  }
' | while read -r inode size start bytes fresh path; do
  if [ "$inode" = "done" ]; then
    printf '%s done %s\\n' "$mark" "$size"
    break
  fi
  if [ "$fresh" = 1 ] && [ "$lines" -gt 0 ]; then
    window=$((size < limit ? size : limit))
    last=$({ tail -c "+$((size - window + 1))" | head -c "$window"; } < "$path" | tail -n "$lines" | wc -c)
    start=$((size - last)) bytes=$((last < bytes ? last : bytes))
  fi
  printf '%s file %s %s %s %s\\n' "$mark" "$inode" "$size" "$start" "$path"
  case $inode:$start in
    folder:*) false ;;
    *:0) head -c "$bytes" < "$path" ;;
    *) { tail -c "+$((start + 1))" | head -c "$bytes"; } < "$path" ;;
  esac
  code=$?
  printf '\\n%s end %s\\n' "$mark" "$code"
done
"""
"""``$1`` mark of frames, ``$2`` bytes of an answer at most, ``$3`` how names end, ``$4`` lines from the end at which a
file that was never read begins (0: all), ``$5`` counts answers, so that others come first in the next, ``$6`` least
share, ``$7`` overlap.

Standard input: ``* BEGINNING`` or ``= PATH``, and behind each, for what was read of it before, ``+ INODE OFFSET REST``.
One ``ls`` tells inode and size of all of them; its columns are those of POSIX. Inodes of Lustre have 64 bits and are
compared as text, because awk counts in doubles.
"""

TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far a file was read.

    Attributes:
        inode: Which file it was, as ``ls -i`` prints it.
        offset: Bytes read.
    """

    inode: str
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Logs whose paths begin alike.

    Attributes:
        path: Absolute path, or its beginning.
        exact: It is the path of one file.
        known: How far each file was read, by the rest of its path.
    """

    path: str
    exact: bool = False
    known: Mapping[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for text in (self.path, *self.known):
            if "\n" in text or "\0" in text:
                raise ParseError(f"the path of a log cannot hold a line break: {text!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What one file answered.

    Attributes:
        path: Its path.
        inode: Which file it is.
        size: Bytes it had when it was looked at.
        start: Where ``data`` begins in it.
        data: At most that many bytes as its share was; less when the file was cut just then.
    """

    path: str
    inode: str
    size: int
    start: int
    data: bytes


def read_logs(
    sources: Sequence[Source], *, mark: str, limit: int, ending: str = "out", lines: int = 0, turn: int = 0
) -> Flow[tuple[list[Chunk], bool]]:
    """What is new in these logs in the order of the sources, and whether there was more than one answer holds.

    Args:
        sources: Where to look, and how far each file was read.
        mark: Begins each frame; must be in no log, so make it from randomness.
        limit: Bytes of logs in the answer at most.
        ending: How the paths of a source that is not exact end.
        lines: A file that was never read begins so many lines before its end; 0 for its beginning.
        turn: A count of answers: when not every file gets its share, other ones come first in the next.

    Raises:
        SiteError: A log is there and cannot be read, or the answer is not whole.
    """
    text = "".join(_asked(sources)).encode("utf-8", "surrogateescape")
    words = (mark, str(limit), ending, str(lines), str(turn), str(LEAST_SHARE), str(OVERLAP))
    completed = yield shell(_READ, *words, stdin=text, timeout=TIMEOUT, idempotent=True)
    name = re.escape(mark.encode())
    done = re.search(rb"^%s done (\d)\n" % name, completed.stdout, re.MULTILINE)
    if done is None:
        raise completed.refusal("the site's answer about logs is not whole")
    frames = rb"^%s file (\w+) (\d+) (\d+) ([^\n]*)\n(.*?)\n%s end (\d+)\n" % (name, name)
    found = []
    for inode, size, start, path, data, code in re.findall(frames, completed.stdout, re.MULTILINE | re.DOTALL):
        where = path.decode("utf-8", "surrogateescape")
        if code != b"0":
            why = " because it is a folder" if inode == b"folder" else ""
            raise completed.refusal(f"the log {where} cannot be read{why}")
        found.append(Chunk(path=where, inode=inode.decode(), size=int(size), start=int(start), data=data))
    # The parts of a job lie in folders whose names say nothing of their order.
    places = {source.path: number for number, source in reversed(list(enumerate(sources)))}
    found.sort(key=lambda chunk: min((n for path, n in places.items() if chunk.path.startswith(path)), default=0))
    return found, done[1] == b"1"


def _asked(sources: Sequence[Source]) -> list[str]:
    lines = []
    for source in sources:
        lines.append(f"{'=' if source.exact else '*'} {source.path}\n")
        lines += [f"+ {place.inode} {place.offset} {rest}\n" for rest, place in source.known.items()]
    return lines
