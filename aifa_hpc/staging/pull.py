"""What a site is told so that it fetches files itself, and what it tells of it; ``staging.puller`` is run there.

The site gets URLs and no keys: an object's URL is signed here, for reading that object, for a week at most. It lies in
a folder that only the user can enter, never in the words of a program.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from aifa_hpc.command import shell
from aifa_hpc.errors import SiteError
from aifa_hpc.manifest import make_entry, write_manifest
from aifa_hpc.staging.datasets import merge
from aifa_hpc.staging.model import fingerprint, partial_prefix
from aifa_hpc.staging.plan import Verdict
from aifa_hpc.staging.planning import read_published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aifa_hpc.command import Flow
    from aifa_hpc.manifest import DataSet
    from aifa_hpc.staging.plan import Action, Plan
    from aifa_hpc.staging.route import Route

LANES = 8
"""Threads of one task; login nodes of JUPITER let a user have 20 processes."""

PIECE = 64 * 2**20
"""Bytes of one request, whole blocks; so much at most is fetched twice by each thread after a kill."""

QUIET_SECONDS = 60
"""A task that has not written for so long is taken for ended."""

_PUT_SECONDS = 600.0
_MODULES = ("staging/fetching.py", "staging/files.py", "staging/pulled.py", "staging/puller.py")
_MAIN = "import sys\nfrom aifa_hpc.staging.puller import main\nsys.exit(main())\n"

_PUT = """
umask 077 && mkdir -p -- "$1" && chmod 700 -- "$1" && cd -- "$1" && rm -f tasks.jsonl beat.* && tar -x -o -f - || exit
case $1 in
  */pulls/*) find "${1%/*}" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf -- {} + 2> /dev/null || : ;;
esac
"""
"""Others that nobody has worked on for eight days go: their URLs have ended (``signing.VALID_SECONDS``)."""
_ASK = """
cd -- "$1" 2>/dev/null || exit 0
for file in beat.*.json; do [ -f "$file" ] && cat -- "$file" && echo; done
date '+{"now": %s}'
"""
_JOURNALS = (
    'cd -- "$1" 2>/dev/null || exit 0; for file in journal.*; do [ -f "$file" ] && grep "^.\\"done\\"" "$file"; done; :'
)
_START = """
cd -- "$1" || exit 1
start=
command -v setsid > /dev/null && start=setsid
nohup $start "$2" -I program.zip . > log 2>&1 < /dev/null &
"""
_DROP = 'rm -rf -- "$1"'
_LOG = 'tail -n 5 -- "$1/log" 2>/dev/null; :'


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """How far a task is.

    Attributes:
        task: Its number.
        state: ``running``, ``done`` or ``failed``.
        alive: It runs and has told so within the last minute.
        bytes: That were fetched, resumed or there already.
        fetched: Of these, what came over.
        problem: Why it failed.
        where: Machine and process.
        job: Slurm's id of the job it belongs to; empty on a login node.
    """

    task: int
    state: str
    alive: bool
    bytes: int
    fetched: int
    problem: str
    where: str
    job: str


def pull_name(route: Route) -> str:
    """A name for the fetching of one source to one place: the same whenever it is asked for again."""
    text = f"{route.source.identity}\0{route.only}\0{route.place}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def pack(
    route: Route,
    root: str,
    plan: Plan,
    before: bytes,
    *,
    data_set: DataSet,
    sign: Callable[[Action], tuple[str, str]],
    run: str,
    tasks: int,
    piece: int = PIECE,
) -> bytes:
    """All that a site needs to carry out a plan, as a tar archive.

    Args:
        route: From where to where.
        root: The destination's folder there.
        plan: What is to be sent; files that are skipped stay in the manifest.
        before: The manifest that lies there; empty for none.
        data_set: What the files will be.
        sign: The URL of a file, and the ETag that it must have, if there is one.
        run: Names this attempt.
        tasks: Among how many the files are shared.
        piece: Bytes of one request; a run with another size begins files anew.
    """
    sending = plan.of(Verdict.SEND)
    there = [
        make_entry(
            path=one.path, size=one.there.size, blocks=one.there_blocks or (), mtime_ns=one.there.mtime_ns,
            executable=one.there.executable,
        )
        for one in plan.of(Verdict.SKIP) if one.there is not None
    ]  # fmt: skip
    kept = merge(
        read_published(before, str(route.destination)), there, data_set, gone=[action.path for action in sending]
    )
    # The data set comes first, unless nothing but what is fetched will be new in it.
    number = next((at for at, one in enumerate(kept.sets) if one.place == data_set.place), len(kept.sets))
    sets = [*kept.sets[:number], data_set, *kept.sets[number + 1 :]]
    about = {
        "aifa_pull": 1, "run": run, "root": root, "lanes": LANES, "piece": piece, "tasks": tasks, "count": len(sending),
        "manifest": route.manifest, "before": hashlib.sha256(before).hexdigest() if before else "", "set": number,
        "sets": [{key: getattr(one, key) for key in one.__slots__} for one in sets],
    }  # fmt: skip
    shares = share([action.file.size for action in sending], tasks)
    tasks_file = io.BytesIO()
    tasks_file.write(json.dumps(about).encode("ascii") + b"\n")
    for one, task in zip(sending, shares, strict=True):
        tasks_file.write(json.dumps(_task(route, one, task, *sign(one))).encode("ascii") + b"\n")
    members = {
        "program.zip": io.BytesIO(program()),
        "kept.jsonl": io.BytesIO("".join(list(write_manifest(kept))[1:]).encode("ascii")),
        # Last: with it, all is there.
        "tasks.jsonl": tasks_file,
    }
    return _tar(members)


def share(sizes: Sequence[int], tasks: int) -> list[int]:
    """Which task takes each file: the largest first, each to the one with the least."""
    loads = [(0, number) for number in range(tasks)]
    found = [0] * len(sizes)
    for at in sorted(range(len(sizes)), key=lambda at: -sizes[at]):
        load, number = min(loads)
        found[at] = number
        loads[number] = (load + max(sizes[at], 1), number)
    return found


def program() -> bytes:
    """The program, as an archive that ``python3`` runs."""
    package, made = resources.files("aifa_hpc"), io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("__main__.py", _MAIN)
        for name in ("__init__.py", "staging/__init__.py"):
            archive.writestr(f"aifa_hpc/{name}", "")
        for name in _MODULES:
            archive.writestr(f"aifa_hpc/{name}", (package / name).read_bytes())
    return made.getvalue()


def put(folder: str, archive: bytes) -> Flow[None]:
    """Unpacks what was packed into a folder of its own."""
    done = yield shell(_PUT, folder, stdin=archive, timeout=_PUT_SECONDS)
    if done.exit_code != 0:
        raise done.refusal(f"the list of files cannot be put into {folder}")


def start(folder: str, python: str) -> Flow[None]:
    """Starts the program on the machine that answers, so that it outlives the connection."""
    done = yield shell(_START, folder, python)
    if done.exit_code != 0:
        raise done.refusal(f"fetching cannot be started in {folder}")


def ask(folder: str) -> Flow[list[Beat]]:
    """How far all tasks are; none where nothing was started."""
    done = yield shell(_ASK, folder, idempotent=True)
    if done.exit_code != 0:
        raise done.refusal(f"{folder} cannot be read")
    return read_beats(done.out)


def read_beats(text: str) -> list[Beat]:
    """What tasks wrote, and at last the time there.

    Raises:
        SiteError: It is something else.
    """
    try:
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        now = max((one["now"] for one in records if "now" in one), default=0)
        return [
            Beat(
                task=one["task"],
                state=one["state"],
                alive=one["state"] == "running" and now - one["time"] < QUIET_SECONDS,
                bytes=one["fetched"] + one["resumed"] + one["skipped"],
                fetched=one["fetched"],
                problem=one["problem"],
                where=f"process {one['pid']} on {one['host']}",
                job=one["job"],
            )
            for one in records
            if "task" in one
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SiteError(f"what the site says of fetching cannot be read: {error!r}") from error


def ask_done(folder: str) -> Flow[list[dict[str, Any]]]:
    """The files that were published, as :mod:`staging.puller` noted them."""
    done = yield shell(_JOURNALS, folder, idempotent=True, timeout=_PUT_SECONDS)
    return list(_records(done.out))


def ask_log(folder: str) -> Flow[str]:
    """The last lines of what the program said on a login node."""
    done = yield shell(_LOG, folder, idempotent=True)
    return done.out.strip()


def drop(folder: str) -> Flow[None]:
    """Removes the folder; what was published stays."""
    yield shell(_DROP, folder, idempotent=True, timeout=_PUT_SECONDS)


def _records(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the end of a run that was killed
            continue


def _task(route: Route, action: Action, task: int, url: str, etag: str) -> Mapping[str, Any]:
    folder, slash, _ = action.path.rpartition("/")
    file = action.file
    return {
        "path": action.path,
        "aside": f"{folder}{slash}{partial_prefix(action.path)}",
        "print": fingerprint(route.source.identity, file),
        "url": url,
        "etag": etag,
        "file": file.path,
        "pin": file.pin,
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "executable": file.executable,
        "task": task,
    }


def _tar(members: Mapping[str, io.BytesIO]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = data.getbuffer().nbytes, 0o600
            data.seek(0)
            archive.addfile(member, data)
    return made.getvalue()
