"""What a site tells of itself, in one question; and what its sbatch would say to a script, without submitting it.

**Survey.** Partitions, nodes, QOS, associations, reservations, versions, folders and tools are asked for in one remote
command, each in a section of its own. The answers stay in Slurm's own words, ``tables[section][name][field]``: what
they mean for a profile is ``sites.drift``'s to say. A program that refuses or is missing makes its section *silent*,
with its reason, and hides no other.

**Test.** ``sbatch --test-only`` (sbatch(1)) takes a script through every check of the controller and says when it would
start if the queue stayed as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

from aifa_hpc.command import Flow, shell
from aifa_hpc.errors import SiteError
from aifa_hpc.slurm.shell import ASK, CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Table: TypeAlias = "dict[str, dict[str, str]]"

QOS_COLUMNS = ("Name", "MaxWall", "MaxTRES", "MaxJobsPU", "MaxSubmitPU")
ASSOCIATION_COLUMNS = ("Cluster", "Account", "Partition", "QOS", "DefaultQOS", "MaxWall", "MaxJobs", "MaxSubmit")
NODE_COLUMNS = ("partition", "cores", "memory", "gres", "nodes", "state")

_SURVEY = (
    CLEAN
    + ASK
    + """
keys() {
  for key in /etc/ssh/ssh_host_*_key.pub; do [ -r "$key" ] && ssh-keygen -lf "$key"; done
  set -- ${SSH_CONNECTION:-}
  [ "$#" -ne 4 ] || ssh-keyscan -T 5 -t ed25519 -p "$4" "$3" 2> /dev/null | ssh-keygen -lf -
}
place() {
  [ -d "$1" ] && echo "there=yes"
  found=$1
  while [ ! -e "$found" ] && [ "$found" != / ] && [ -n "$found" ]; do found=$(dirname -- "$found"); done
  [ -d "$found" ] && [ -w "$found" ] && [ -x "$found" ] && echo "writable=yes"
  printf 'nearest=%s\\n' "$found"
}
user=$(id -un) qos=$1 association=$2 patience=
shift 2
command -v timeout > /dev/null && patience='timeout 30'
ask version $patience sbatch --version
ask config $patience scontrol show config
ask partition $patience scontrol --oneliner show partition
ask node $patience sinfo --exact --noheader --format='%R|%z|%m|%G|%D|%T'
ask reservation $patience scontrol --oneliner show reservation
ask qos $patience sacctmgr --noheader --parsable2 show qos format="$qos"
ask association $patience sacctmgr --noheader --parsable2 show assoc user="$user" format="$association"
ask hostkey keys
ask python python3 --version
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do ask "tool_$1" command -v "$1"; shift; done
[ "$#" -eq 0 ] || shift
number=0
for path; do
  number=$((number + 1))
  case $path in
    *'{user}'*) path=${path%%'{user}'*}$user${path#*'{user}'} ;;
    '{home}'*) path=$HOME${path#'{home}'} ;;
  esac
  ask "path_$number" place "$path"
done
echo "aifa: done $user"
"""
)
"""``$1`` columns of QOS, ``$2`` columns of associations, then tools, ``--``, and folders, in which ``{user}`` is the
user there and a leading ``{home}`` the home."""

_TEST = (
    CLEAN
    + """
batch=$(mktemp -d) || exit 73
trap 'rm -rf -- "$batch"' EXIT
cd -- "$batch" && LC_ALL=C awk -v mark="$1" '
  BEGIN { file = "./1" }
  $0 == mark { close(file); file = "./" (++marks + 1); next }
  { print > file }
' || exit 74
cd - > /dev/null || exit 74
number=0
while [ "$number" -lt "$2" ]; do
  number=$((number + 1))
  out=$(sbatch --test-only --ignore-pbs < "$batch/$number" 2>&1)
  code=$?
  printf '%s\\naifa: tested %s\\n' "$out" "$code"
done
"""
)
"""``$1`` line between two scripts, ``$2`` their number. Standard input: the scripts."""

_SECTION = re.compile(
    r"^aifa: section (?P<name>\w+)\s*$(?P<body>.*?)^aifa: end (?P<code>\d+)\s*$", re.MULTILINE | re.DOTALL | re.ASCII
)
_SAID = re.compile(r"^aifa: said ?(.*)$", re.MULTILINE)
_DONE = re.compile(r"^aifa: done (?P<user>\S+)\s*$", re.MULTILINE)
_FIELD = re.compile(r"(?P<key>[A-Za-z][\w:/]*)=(?P<value>\S*)")
_SETTING = re.compile(r"^(?P<key>[A-Za-z]\w*)\s+= (?P<value>.*)$", re.MULTILINE)
_CODES = {"0": "it said nothing", "124": "no answer in 30 seconds"}  # 124: timeout(1)
_MAY_BE_EMPTY = {"association", "reservation"}  # where no rows are an answer
_VERSION = re.compile(r"(?P<version>\d+(?:\.\d+)+(?:-\w+)?)", re.ASCII)
_TESTED = re.compile(r"^aifa: tested (?P<code>\d+)\s*$", re.MULTILINE | re.ASCII)
_WILL_RUN = re.compile(
    r"^sbatch: Job (?P<job>\S+) to start at (?P<start>\S+) using (?P<processors>\d+) processors on (?:nodes )?"
    r"(?P<nodes>\S+)(?: in partition (?P<partition>\S+))?\s*$",
    re.MULTILINE | re.ASCII,
)
_WORDS = re.compile(r"^(?:sbatch: (?:error: )?|allocation failure: )(?P<text>.*\S)\s*$", re.MULTILINE)
# slurm_errno.c: the controller did not answer, which says nothing of the job.
_DEAF = re.compile(r"timed out|Unable to contact|Zero Bytes|Unexpected message|(?:send|receive|shutdown) failure")

SURVEY_TIMEOUT = 300.0  # seven programs, each of which may wait 30 s for a busy controller or database, and folders
TEST_TIMEOUT = 120.0  # as a submission; seconds
_EACH_TEST = 1.0  # a busy controller answers in less; seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a site told of itself.

    Attributes:
        user: Who we are there.
        tables: By section, name and field, in Slurm's own words; sections that told nothing are absent.
        silent: Why a section told nothing.
    """

    user: str
    tables: dict[str, Table] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What sbatch would say to a script.

    Attributes:
        accepted: It would take it.
        start: When it would start, as things stand, on the site's clock; empty when it does not say.
        processors: That the job would get.
        nodes: Host list of the nodes it would get.
        partition: Where.
        words: What sbatch said.
    """

    accepted: bool
    start: str = ""
    processors: int | None = None
    nodes: str = ""
    partition: str = ""
    words: str = ""


def try_scripts(scripts: Sequence[str]) -> Flow[list[Verdict]]:
    """Asks sbatch in one command what it would say to each script; nothing is submitted.

    Raises:
        SiteError: Slurm does not answer.
    """
    mark = next(line for number in count() if (line := f"# aifa: next {number}") not in "\n".join(scripts))
    text = f"{mark}\n".join(script if script.endswith("\n") else f"{script}\n" for script in scripts)
    timeout = TEST_TIMEOUT + _EACH_TEST * len(scripts)
    completed = yield shell(_TEST, mark, str(len(scripts)), stdin=text.encode(), timeout=timeout, idempotent=True)
    *answers, _ = _TESTED.split(completed.out)
    said, codes = answers[::2], answers[1::2]
    if len(said) != len(scripts):
        raise completed.refusal("sbatch --test-only did not answer")
    return [parse_test(words, int(code)) for words, code in zip(said, codes, strict=True)]


def parse_test(text: str, code: int) -> Verdict:
    """What ``sbatch --test-only`` printed and exited with.

    Raises:
        SiteError: The controller did not answer, or there is no sbatch.
    """
    words = "; ".join(dict.fromkeys(match["text"] for match in _WORDS.finditer(text))) or text.strip()
    if code == 0:
        found = _WILL_RUN.search(text)
        if found is None:
            return Verdict(accepted=True, words=words)
        return Verdict(
            accepted=True,
            start=found["start"],
            processors=int(found["processors"]),
            nodes=found["nodes"],
            partition=found["partition"] or "",
            words=words,
        )
    if code == 127 or _DEAF.search(text):  # noqa: PLR2004 - sh: there is no such program
        raise SiteError("sbatch --test-only could not ask the controller", exit_code_remote=code, stderr=text)
    return Verdict(accepted=False, words=words)


def survey(paths: Sequence[str], tools: Sequence[str]) -> Flow[Survey]:
    """Asks a site everything that a profile says of it.

    Args:
        paths: Folders, told of in section ``path`` by their place here (``"0"``).
        tools: Programs, told of in section ``tool``.

    Raises:
        SiteError: The answer is not whole.
    """
    words = (",".join(QOS_COLUMNS), ",".join(ASSOCIATION_COLUMNS), *tools, "--", *paths)
    completed = yield shell(_SURVEY, *words, timeout=SURVEY_TIMEOUT, idempotent=True)
    done = _DONE.search(completed.out)
    if done is None:
        raise completed.refusal("the site's answer about itself is not whole")
    return read_survey(completed.out, done["user"])


def read_survey(text: str, user: str) -> Survey:
    """The sections of the answer, each parsed."""
    tables: dict[str, Table] = {}
    silent: dict[str, str] = {}
    for section in _SECTION.finditer(text):
        name, _, rest = section["name"].partition("_")
        lines = [line.strip() for line in _SAID.findall(section["body"]) if line.strip()]
        said = lines[-1] if lines else ""  # the last one says what came of it
        body = _SAID.sub("", section["body"])
        found = _parse(name, rest, body) if section["code"] == "0" or name == "path" else {}
        if found or (section["code"] == "0" and name in _MAY_BE_EMPTY):
            tables.setdefault(name, {}).update(found)
        elif name != "tool":  # a tool that is not there is an answer
            silent[name] = said or _CODES.get(section["code"], f"exit code {section['code']}")
        if name == "tool" and not found:
            tables.setdefault("tool", {})
    return Survey(user=user, tables=tables, silent=silent)


def _parse(name: str, rest: str, body: str) -> Table:
    if name == "tool":
        lines = body.split()
        return {rest: {"path": lines[-1]}} if lines else {}
    if name == "path":
        fields = dict(line.split("=", 1) for line in body.splitlines() if "=" in line)
        return {str(int(rest) - 1): fields} if rest.isdigit() and fields else {}
    return _PARSERS[name](body) if name in _PARSERS else {}


def parse_settings(text: str) -> Table:
    """Output of ``scontrol show config``, under the name ``slurm``."""
    found = {match["key"]: match["value"].strip() for match in _SETTING.finditer(text)}
    return {"slurm": found} if found else {}


def parse_version(text: str) -> Table:
    """The first version number in what a program says of itself, under the name ``program``."""
    found = _VERSION.search(text)
    return {"program": {"version": found["version"]}} if found else {}


def parse_host_keys(text: str) -> Table:
    """Output of ``ssh-keygen -lf``: ``BITS SHA256:... COMMENT (TYPE)`` lines, by fingerprint."""
    words = [line.split() for line in text.splitlines() if " SHA256:" in line]
    return {line[1]: {"type": line[-1].strip("()")} for line in words}


def parse_oneliners(text: str, first: str) -> Table:
    """Output of ``scontrol --oneliner show ...``: one record a line, ``Key=Value`` words, the first of them its name.

    Values with blanks in them are cut at the first one; none of those that profiles know has any.
    """
    found = {}
    for line in text.splitlines():
        fields = {match["key"]: match["value"] for match in _FIELD.finditer(line)}
        if line.strip().startswith(f"{first}=") and fields[first]:
            found[fields[first]] = fields
    return found


def parse_bars(text: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Lines of columns with ``|`` between them; a line with another number of columns is a banner."""
    rows = [line.strip().split("|") for line in text.splitlines()]
    return [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns) and row[0]]


def _numbered(rows: list[dict[str, str]]) -> Table:
    return {str(number): row for number, row in enumerate(rows)}


_PARSERS: dict[str, Callable[[str], Table]] = {
    "association": lambda text: _numbered(parse_bars(text, ASSOCIATION_COLUMNS)),
    "config": parse_settings,
    "hostkey": parse_host_keys,
    "node": lambda text: _numbered(parse_bars(text, NODE_COLUMNS)),
    "partition": lambda text: parse_oneliners(text, "PartitionName"),
    "python": parse_version,
    "qos": lambda text: {row["Name"]: row for row in parse_bars(text, QOS_COLUMNS)},
    "reservation": lambda text: parse_oneliners(text, "ReservationName"),
    "version": parse_version,
}
