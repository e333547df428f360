"""What executors ask a site: keep a bundle, hand over outcomes, forget a bundle. Flows that never touch a wire.

The tree on the site::

    WORKDIR/calls/KEY/calls.pyz         the bundle, mode 0600 in a folder of mode 0700
    WORKDIR/jobs/TOKEN/result-INDEX.RANK    an outcome, in the folder of its job
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aifa_hpc.command import Flow, shell
from aifa_hpc.errors import NotSentError

if TYPE_CHECKING:
    from collections.abc import Sequence

BUNDLE = "calls.pyz"

MOST_BYTES = 8 << 20
"""Of one outcome that is read in place; larger ones are copied by the staging engine, which resumes."""

_ALL_BYTES = 32 << 20
"""Of the outcomes in one answer; the rest comes with the next question."""

_KEEP = """
umask 077
mkdir -p -- "$1/$2" && cd -- "$1/$2" || exit 73
cat > calls.part || exit 74
[ "$(wc -c < calls.part)" -eq "$3" ] || { rm -f calls.part; echo "aifa: cut"; exit 0; }
mv -- calls.part "$4" && echo "aifa: kept"
"""
"""``$1`` folder of bundles, ``$2`` key, ``$3`` size, ``$4`` name; the bundle on standard input."""

_DROP = """
for place; do
  case $place in
    */calls/*/calls.pyz) bundle=${place%/calls.pyz} ;;
    *)
      key=$(sed -n 's|.*/calls/\\([0-9a-f]\\{1,\\}\\)/calls[.]pyz.*|\\1|p' "$place/script.sbatch" | head -n 1)
      [ -n "$key" ] || continue
      bundle=${place%/jobs/*}/calls/$key
      ;;
  esac
  rm -f -- "$bundle/calls.pyz" && rmdir -- "$bundle"
done
"""
"""The arguments are bundles, and folders of jobs, whose scripts name their bundles: a job that was killed has left
nothing that does."""

_FETCH = """
limit=$1 all=$2 number=0 total=0 me=$(id -u)
while IFS= read -r folder && IFS= read -r index; do
  number=$((number + 1))
  for file in "$folder/result-$index".*; do
    [ -e "$file" ] || continue
    case $file in *.part) continue ;; esac
    if [ -z "$(find "$folder" -prune -type d -user "$me" ! -perm -002)" ] ||
      [ -z "$(find "$file" -prune -type f -user "$me" ! -perm -002)" ]; then
      printf 'aifa: foreign %s %s\\n' "$number" "$file"
      continue
    fi
    size=$(wc -c < "$file")
    size=$((size))
    if [ "$size" -gt "$limit" ]; then
      printf 'aifa: large %s %s %s\\n' "$number" "$size" "$file"
    elif [ "$total" -le "$all" ]; then
      total=$((total + size))
      printf 'aifa: result %s %s %s\\n' "$number" "${file##*.}" "$size"
      cat < "$file"
      echo
    fi
  done
done
echo "aifa: done $number"
"""
"""``$1`` largest outcome, ``$2`` all of them; on standard input each call.s folder and its index, a line each.

Only what the user owns and nobody else can write is handed over: outcomes are pickles, and who writes a pickle runs
code where it is loaded.
"""

_HEAD = re.compile(rb"^aifa: (result|large|foreign|done) (\d+)(?: ([^\n]*))?\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One call whose outcome is asked for.

    Attributes:
        folder: Of its job.
        index: Among the calls of its bundle.
    """

    folder: str
    index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Handed:
    """What the site has of one call.

    Attributes:
        ranks: Outcomes by rank.
        large: Paths of outcomes that are too large to be read in place.
        foreign: Paths of files that are not the user's own, and were not read.
    """

    ranks: dict[int, bytes]
    large: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


def keep(calls: str, key: str, bundle: bytes) -> Flow[str]:
    """Stores a bundle and returns its path.

    Args:
        calls: Folder of bundles.
        key: Of this one; nobody else has it.
        bundle: The archive.

    Raises:
        NotSentError: It did not arrive whole.
        SiteError: It cannot be stored there.
    """
    completed = yield shell(_KEEP, calls, key, str(len(bundle)), BUNDLE, stdin=bundle, idempotent=True)
    if "aifa: cut" in completed.out:
        raise NotSentError("the function did not reach the site whole, so nothing was submitted.")
    if "aifa: kept" not in completed.out:
        raise completed.refusal(
            f"the function could not be stored in {calls}",
            hint="Check that there is space and quota, and that the folder is yours.",
        )
    return f"{calls}/{key}/{BUNDLE}"


def drop(places: Sequence[str]) -> Flow[None]:
    """Removes bundles, each named by its path or by its job's folder; one that is gone is no error."""
    yield shell(_DROP, *places, idempotent=True)


def fetch(wanted: Sequence[Wanted], *, most: int = MOST_BYTES) -> Flow[list[Handed]]:
    """Hands over the outcomes that are there, for each call in order.

    Args:
        wanted: The calls.
        most: Bytes of an outcome that is read in place.

    Raises:
        SiteError: The answer is not whole.
    """
    data = "".join(f"{one.folder}\n{one.index}\n" for one in wanted).encode()
    completed = yield shell(_FETCH, str(most), str(_ALL_BYTES), stdin=data, timeout=300.0, idempotent=True)
    found = _read(completed.stdout, len(wanted))
    if found is None:
        raise completed.refusal("the site's answer about results is not whole")
    return found


def _read(data: bytes, count: int) -> list[Handed] | None:
    ranks: list[dict[int, bytes]] = [{} for _ in range(count)]
    large: list[list[str]] = [[] for _ in range(count)]
    foreign: list[list[str]] = [[] for _ in range(count)]
    position = 0
    while match := _HEAD.search(data, position):
        kind, number, rest = match[1].decode(), int(match[2]), (match[3] or b"").decode("utf-8", "replace")
        position = match.end()
        if kind == "done":
            if number != count:
                return None
            return [
                Handed(ranks=one, large=tuple(large[place]), foreign=tuple(foreign[place]))
                for place, one in enumerate(ranks)
            ]
        if kind == "result":
            rank, size = map(int, rest.split())
            ranks[number - 1][rank] = data[position : position + size]
            position += size
        elif kind == "large":
            large[number - 1].append(rest.partition(" ")[2])
        else:
            foreign[number - 1].append(rest)
    return None
