"""What a site tells of one job, for an explanation: all of it in one remote command, in Slurm's own words.

**Waiting.** Why a job is not running yet, or would not be taken: its own record, what it waits for, its partition's
queue and nodes, reservations, and the limits of its account. **Ended.** Why it ended as it did: accounting with all
attempts and steps, the controller's record while it keeps one, and the last bytes of its logs.

A program that refuses or is missing makes its section silent, with its reason, and hides no other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aifa_hpc.command import Flow, shell
from aifa_hpc.slurm.shell import ASK, CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JOB_COLUMNS = ("%i", "%T", "%P", "%Q", "%a", "%q", "%v", "%S", "%D", "%l", "%r")
JOB_NAMES = (
    "id",
    "state",
    "partition",
    "priority",
    "account",
    "qos",
    "reservation",
    "start",
    "nodes",
    "limit",
    "reason",
)
QOS_COLUMNS = ("Name", "MaxWall", "MaxTRES", "MaxJobsPU", "MaxSubmitPU", "MaxTRESPU", "GrpTRES", "GrpTRESMins")
ASSOCIATION_COLUMNS = (
    "Account",
    "Partition",
    "QOS",
    "DefaultQOS",
    "MaxWall",
    "MaxJobs",
    "MaxSubmit",
    "MaxTRES",
    "GrpTRES",
    "GrpTRESMins",
)
STEP_COLUMNS = (
    "JobID",
    "State",
    "ExitCode",
    "DerivedExitCode",
    "Elapsed",
    "Timelimit",
    "NodeList",
    "NNodes",
    "ReqMem",
    "MaxRSS",
    "MaxRSSNode",
    "Submit",
    "Start",
    "End",
    "Reason",
    "JobName",
)
TAIL_BYTES = 64 * 1024
"""Of each log: what ends a job stands at its end, and a megabyte of progress bars tells no more."""

_PATIENCE = """
patience=
command -v timeout > /dev/null && patience='timeout 30'
"""

_WAITING = (
    CLEAN
    + ASK
    + _PATIENCE
    + """
id=$1 partition=$2 columns=$3 qos=$4 association=$5 steps=$6 budget=$7 account=$8
user=$(id -un) priority=
position() {
  squeue --noheader --states=PENDING --partition="$1" --format='%Q|%u' > "$scratch/queue" || return
  awk -F '|' -v mine="$2" -v me="$user" '
    $1 + 0 > 0 { total++; if ($2 == me) own++ }
    $1 + 0 > mine + 0 { ahead++; if ($2 == me) ahead_own++ }
    END { printf "%d|%d|%d|%d\\n", ahead, total, ahead_own, own }' "$scratch/queue"
}
private() { scontrol show config > "$scratch/config" && sed -n 's/^PrivateData *= */PrivateData=/p' "$scratch/config"; }
counts() {
  squeue --me --noheader --array --states=PENDING,RUNNING,COMPLETING,CONFIGURING --format='%T|%P|%a|%q' \\
    > "$scratch/own" && sort "$scratch/own" | uniq -c
}
each_partition() {
  for one in $(echo "$partition" | tr ',' ' '); do scontrol --oneliner show partition "$one" || return; done
}
scratch=$(mktemp -d) || exit 73
trap 'rm -rf "$scratch"' EXIT
if [ -n "$id" ]; then
  ask job $patience squeue --noheader --states=all --jobs="$id" --format="$columns"
  ask detail $patience scontrol --oneliner show job "$id"
  ask attempts $patience sacct -X --duplicates --parsable2 --noheader --starttime=now-30days --jobs="$id" \\
    --format="$steps"
  found=$(squeue --noheader --states=PENDING --jobs="$id" --format='%P|%Q|%a' 2> /dev/null < /dev/null | head -n 1)
  if [ -n "$found" ]; then
    partition=${found%%|*} account=${found##*|} priority=${found#*|} priority=${priority%%|*}
    ask position position "$partition" "$priority"
  fi
  depends=$(scontrol --oneliner show job "$id" 2> /dev/null < /dev/null | sed -n 's/.* Dependency=\\([^ ]*\\).*/\\1/p' |
    tr ',?:' '\\n\\n\\n' | sed -n 's/^\\([0-9][0-9_]*\\).*/\\1/p' | sort -u | tr '\\n' ',')
  [ -z "$depends" ] || ask depends $patience sacct -X --parsable2 --noheader --starttime=now-30days \\
    --jobs="${depends%,}" --format=JobID,State,ExitCode,JobName
fi
ask clock date +%Y-%m-%dT%H:%M:%S
ask private private
[ -z "$partition" ] || ask partition each_partition
[ -z "$partition" ] || ask node $patience sinfo --noheader --partition="$partition" --format='%D|%T'
ask reservation $patience scontrol --oneliner show reservation
ask qos $patience sacctmgr --noheader --parsable2 show qos format="$qos"
ask association $patience sacctmgr --noheader --parsable2 show assoc user="$user" format="$association"
ask counts counts
if [ -n "$budget" ] && command -v "${budget%% *}" > /dev/null; then ask budget $patience $budget "$account"; fi
echo "aifa: done"
"""
)
"""``$1`` id or nothing, ``$2`` partition, ``$3`` to ``$6`` columns, ``$7`` the site's own budget program, ``$8``
account. What comes before ``|`` in a pipe must not hide its failure, so it goes through a file."""

_ENDED = (
    CLEAN
    + ASK
    + _PATIENCE
    + """
id=$1 columns=$2 since=$3 bytes=$4
shift 4
show() {
  [ -e "$1" ] || { echo "there is no such file" >&2; return 66; }
  printf 'aifa: path %s\\n' "$1"
  tail -c "$bytes" < "$1" | LC_ALL=C sed 's/^/|/'
}
ask steps $patience sacct --duplicates --parsable2 --noheader --starttime="$since" --jobs="$id" --format="$columns"
ask detail $patience scontrol --oneliner show job "$id"
number=0
for folder; do
  [ ! -r "$folder/exit" ] || ask sentinel cat "$folder/exit"
  failed=$(for record in "$folder"/exit_*; do
    [ -r "$record" ] && IFS=' ' read -r job restarts code rest < "$record" && [ "$code" != 0 ] &&
      echo "${record##*/exit_}"
  done | sort -n | head -n 3)
  if [ -d "$folder" ]; then set -- "$folder/$id.out"; else set -- "$folder"; fi
  for task in $failed; do set -- "$@" "$folder/${id%%_*}_$task.out"; done
  [ -e "$1" ] || [ -n "$failed" ] || for log in "$folder/$id"_*.out; do [ ! -e "$log" ] || set -- "$@" "$log"; done
  for log in "$folder/$id".rank-*.out; do
    [ -e "$log" ] && LC_ALL=C grep -q -i -E 'error|traceback|killed|abort|fatal' "$log" && set -- "$@" "$log"
  done
  for log; do
    number=$((number + 1))
    [ "$number" -gt 6 ] || ask "log_$number" show "$log"
  done
done
echo "aifa: done"
"""
)
"""``$1`` id, ``$2`` sacct's columns, ``$3`` start of its window, ``$4`` bytes of each log, ``$5`` job's folder, or log.

Lines of a log have a bar in front, so that nothing a job prints looks like ours. Of an array the logs of three tasks
that failed are shown, of ranks the logs that speak of an error.
"""

_SECTION = re.compile(
    r"^aifa: section (?P<name>\w+)\s*$(?P<body>.*?)^aifa: end (?P<code>\d+)\s*$", re.MULTILINE | re.DOTALL | re.ASCII
)
_SAID = re.compile(r"^aifa: said ?(.*)$\n?", re.MULTILINE)
_PATH = re.compile(r"^aifa: path (?P<path>.*)$\n?", re.MULTILINE)
_LINE = re.compile(r"^\|(.*)$", re.MULTILINE)

_FORGOTTEN = "Invalid job id specified"  # slurm_errno.c; a controller keeps jobs for MinJobAge, 300 s by default
_CODES = {"124": "no answer in 30 seconds"}  # timeout(1)

TIMEOUT = 300.0  # as a survey: up to nine programs, each of which may wait for a busy controller or database


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a site told of a job.

    Attributes:
        sections: What each program printed, by section.
        silent: Why a section told nothing.
        logs: The last lines of each log, by path.
    """

    sections: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def ask_waiting(job: str, *, partition: str = "", account: str = "", budget: str = "") -> Flow[Told]:
    """Asks why a job waits, or with no id what would keep one from being taken.

    Args:
        job: Id of the job or of a task; empty for none.
        partition: Where it is to run, where no id tells.
        account: Who is billed, where no id tells.
        budget: The site's own program that tells what is left of a project; it gets the account.

    Raises:
        SiteError: The answer is not whole.
    """
    columns = ("|".join(JOB_COLUMNS), ",".join(QOS_COLUMNS), ",".join(ASSOCIATION_COLUMNS), ",".join(STEP_COLUMNS))
    return _asked(_WAITING, job, partition, *columns, budget, account)


def ask_ended(job: str, folder: str, *, since: str) -> Flow[Told]:
    """Asks why a job ended. That the controller has forgotten it by now is no failure to answer.

    Args:
        job: Id of the job or of a task.
        folder: The job's own folder, or its log where it has none.
        since: ``sacct --starttime``.

    Raises:
        SiteError: The answer is not whole.
    """
    told = yield from _asked(_ENDED, job, ",".join(STEP_COLUMNS), since, str(TAIL_BYTES), folder)
    if told.silent.get("detail", "").endswith(_FORGOTTEN):
        told = replace(told, silent={name: why for name, why in told.silent.items() if name != "detail"})
    return told


def _asked(script: str, *words: str) -> Flow[Told]:
    completed = yield shell(script, *words, timeout=TIMEOUT, idempotent=True)
    if not re.search(r"^aifa: done\s*$", completed.out, re.MULTILINE):
        raise completed.refusal("the site's answer about the job is not whole")
    return read_told(completed.out)


def read_told(text: str) -> Told:
    """The sections of an answer."""
    sections: dict[str, str] = {}
    silent: dict[str, str] = {}
    logs: dict[str, tuple[str, ...]] = {}
    for match in _SECTION.finditer(text):
        said = [line.strip() for line in _SAID.findall(match["body"]) if line.strip()]
        body = _SAID.sub("", match["body"]).strip("\n")
        path = _PATH.search(body)
        if match["name"].startswith("log_") and path is not None:
            logs[path["path"]] = _lines(_LINE.findall(body))
        elif match["code"] == "0":
            sections[match["name"]] = body  # also when there is nothing: no jobs, no reservations
        elif not match["name"].startswith("log_"):
            silent[match["name"]] = said[-1] if said else _CODES.get(match["code"], f"exit code {match['code']}")
    return Told(sections=sections, silent=silent, logs=logs)


def _lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines as a terminal shows them: of a progress bar that draws over itself the last state."""
    return tuple(line.rstrip("\r").rpartition("\r")[2] for line in lines)
