# ruff: noqa: UP006, UP031, UP035, UP045, B904, B905 - Python 3.6 has no other way to say it
# ruff: noqa: PTH104, PTH108, PTH118, PTH120, PTH123 - paths are bytes, which pathlib refuses
# ruff: noqa: SIM115 - 3.6 has no lazy annotations
"""Fetches a list of files by URL into a folder of the machine it runs on: Python 3.6, the standard library.

``staging.pull`` puts it on a site, with ``staging.files``, ``fetching`` and ``pulled``, and starts it on a login node
or as a job, of which each task takes its share of the files. In its own folder, that only the user can enter::

    tasks.jsonl              a header, then a line for each file: its URL, size, and where it goes
    kept.jsonl               entries of the manifest that stay
    journal.RUN.TASK.jsonl   ranges that arrived, with their digests, and files that were published
    beat.RUN.TASK.json       how far it is, written again every two seconds

Ranges of files come on several threads, each with SHA-256 of its blocks as the bytes pass; a file of which all arrived
is read back from the disk and compared before it gets its name. Run again, it believes of its journal only what it can
read back. Who finishes last publishes the manifest and removes the list, which holds signed URLs.
"""

import hashlib
import http.client
import json
import os
import socket
import sys
import threading
import time
import urllib.error
from typing import Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple  # noqa: F401 - type comments

from aifa_hpc.staging.fetching import Connection
from aifa_hpc.staging.files import CHUNK, PART_SUFFIX, Files, Refused, Sums, raw, text, write_all
from aifa_hpc.staging.pulled import entry, journals, manifest

TRIES = 6
PATIENCE_SECONDS = 60.0
BEAT_SECONDS = 2.0

Span = Tuple[int, int]  # offset, length


class Failure(Exception):  # noqa: N818 - what happened to a file
    """Something that trying again does not mend; the text names the file and what to do."""


class Again(Exception):  # noqa: N818 - what is to be done
    """Something that may go better in a while."""


class Work:
    """A file that is being fetched."""

    def __init__(self, task: Dict[str, Any], partial: bytes, sums: Dict[int, List[str]], piece: int) -> None:
        self.task, self.partial, self.sums = task, partial, sums
        self.state = ""
        size = task["size"]
        self.spans = [(at, min(piece, size - at)) for at in range(0, size, piece)]  # type: List[Span]
        self.missing = [span for span in self.spans if span[0] not in sums]
        self.left = len(self.missing)


class Puller:
    """Fetches the files of one task.

    Args:
        folder: With the list.
        number: Of the task.
    """

    def __init__(self, folder: str, number: int) -> None:
        self._folder, self._number = folder, number
        with open(os.path.join(folder, "tasks.jsonl"), encoding="ascii") as file:
            self._about = json.loads(file.readline())  # type: Dict[str, Any]
            self._wanted = set()  # type: Set[Tuple[str, str]]
            self._mine = []  # type: List[Dict[str, Any]]
            for line in file:
                task = json.loads(line)
                self._wanted.add((task["path"], task["print"]))
                if task["task"] == number:
                    self._mine.append(task)
        if len(self._wanted) != self._about["count"]:
            raise Failure("the list of files was cut short: run the same command again")
        self._files = Files(raw(self._about["root"]))
        self._tag = "%s-%s" % (number, os.urandom(4).hex())
        self._journal = open(self._name("journal"), "w", encoding="ascii", buffering=1)
        self._old = self._read_journals()
        self._lock = threading.Lock()
        self._own = threading.local()
        self._stop = threading.Event()
        self.problem = ""
        self.counts = dict.fromkeys(("fetched", "resumed", "skipped", "files"), 0)

    def _name(self, kind: str) -> str:
        return os.path.join(self._folder, "%s.%s.%s.jsonl" % (kind, self._about["run"], self._tag))

    def run(self) -> bool:
        """Fetches; whether all of the task is there."""
        self._beat("running")
        jobs = self._jobs()
        threads = [threading.Thread(target=self._work, args=(jobs,)) for _ in range(self._about["lanes"])]
        for thread in threads:
            thread.daemon = True
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(BEAT_SECONDS)
                self._beat("running")
        if not self.problem:
            try:
                self._settle(self._mine)
            except OSError as error:
                self.problem = "a folder cannot be written: %s" % error
        self._beat("failed" if self.problem else "done")
        if not self.problem:
            self._finish()
        return not self.problem

    def _work(self, jobs: "Iterator[Tuple[Work, Optional[Span]]]") -> None:
        while not self._stop.is_set():
            try:
                with self._lock:
                    job = next(jobs, None)
                if job is None:
                    return
                self._do(*job)
            except Failure as error:
                self._fail(str(error))
            except Refused as error:
                self._fail("%r %s" % (text(error.path), error.what))
            except OSError as error:
                self._fail("%s: %s" % (text(os.fsencode(error.filename or b"")), error.strerror or error))
            except BaseException as error:
                self._fail("%s: %s" % (type(error).__name__, error))
                raise

    def _fail(self, problem: str) -> None:
        with self._lock:
            self.problem = self.problem or problem
        self._stop.set()

    def _jobs(self) -> "Iterator[Tuple[Work, Optional[Span]]]":
        """What is to be done, a range at a time; without a range, a file of which all is there."""
        for task in self._mine:
            old = self._old.get((task["path"], task["print"]), {})
            found = next(self._files.stat([raw(task["path"])]))
            if old.get("done") and found is not None and found[1:3] == [task["size"], task["mtime_ns"]]:
                self._note(old["done"])
                self._count(skipped=task["size"], files=1)
                continue
            partial, adopted = self._partial(task)
            sums = dict(old["sums"]) if adopted and "sums" in old else {}  # type: Dict[int, List[str]]
            work = Work(task, partial, sums, self._about["piece"])
            work.state = old.get("state", "") if sums else ""
            self._count(resumed=sum(length for at, length in work.spans if at in sums))
            for span in list(work.missing):
                yield work, span
            if not work.missing:
                yield work, None

    def _partial(self, task: Dict[str, Any]) -> Tuple[bytes, bool]:
        """The partial file, under a name of this attempt: another one that writes to it is fenced off."""
        aside = raw(task["aside"])
        mine = aside + raw("%s-%s" % (task["print"], os.urandom(4).hex())) + PART_SUFFIX
        for other in self._others(task):
            try:
                self._files.rename(other, mine)
            except FileNotFoundError:
                continue
            return mine, True
        self._files.begin(mine)
        return mine, False

    def _others(self, task: Dict[str, Any]) -> List[bytes]:
        """Partial files that hold the same state of the same source, the longest first."""
        folder, name = os.path.split(raw(task["aside"]))
        rows = self._files.find(folder, name + raw(task["print"]) + b"-")
        return [raw(row[0]) for row in sorted(rows, key=lambda row: -row[1])]

    def _do(self, work: Work, span: Optional[Span]) -> None:
        if span is not None:
            self._fetch(work, span)
            with self._lock:
                work.left -= 1
                if work.left:
                    return
        self._publish(work)

    def _fetch(self, work: Work, span: Span) -> None:
        for attempt in range(TRIES):
            try:
                blocks = self._once(work, span)
                break
            except Again as error:
                if attempt == TRIES - 1:
                    where = "; where nodes reach nothing outside, with `--on login`" if _job() else ""
                    what = (work.task["path"], error, where)
                    raise Failure("%r cannot be fetched: %s; run the same command again%s" % what)
                if self._stop.wait(min(2.0**attempt, 30.0)):
                    raise Failure("stopped")
        with self._lock:
            work.sums[span[0]] = blocks
            line = {"path": work.task["path"], "print": work.task["print"], "at": span[0], "blocks": blocks}
            line["state"] = work.state
            self._note(line)
            self._count(fetched=span[1])

    def _once(self, work: Work, span: Span) -> List[str]:
        """Fetches a range and returns its blocks' digests."""
        task, (offset, length) = work.task, span
        headers = {"Range": "bytes=%d-%d" % (offset, offset + length - 1), "Accept-Encoding": "identity"}
        if task["etag"]:
            headers["If-Match"] = '"%s"' % task["etag"]
        if not hasattr(self._own, "connection"):
            self._own.connection = Connection(PATIENCE_SECONDS)
        try:
            answer = self._own.connection.get(task["url"], headers)
        except urllib.error.HTTPError as error:
            raise _refusal(task["path"], error.code)
        except (OSError, http.client.HTTPException) as error:  # a URLError too
            raise Again(getattr(error, "reason", None) or error)
        with answer:
            if answer.status >= 400:  # noqa: PLR2004 - HTTP's refusals
                raise _refusal(task["path"], answer.status)
            self._require(work, span, answer)
            return self._take(work, span, answer)

    def _require(self, work: Work, span: Span, answer: Any) -> None:
        """The answer is the range that was asked for, of the file that was listed."""
        task = work.task
        part, _, size = answer.headers.get("Content-Range", "").rpartition("/")
        if not part:
            size = answer.headers.get("Content-Length", "")
        # Not by the status: rclone's server answers 200 to a range, too.
        if part != "bytes %d-%d" % (span[0], sum(span) - 1) and (part or span != (0, task["size"])):
            raise Failure("%r cannot be fetched in ranges; use `aifa stage copy`" % task["path"])
        state = (answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "").strip('"')
        with self._lock:
            wanted = task["etag"] or work.state
            if size != str(task["size"]) or (wanted and state != wanted):
                raise _changed(task["path"])
            work.state = state

    def _take(self, work: Work, span: Span, answer: Any) -> List[str]:
        offset, left = span
        buffer, sums = memoryview(bytearray(min(CHUNK, left))), Sums()
        fd = self._files.open_partial(work.partial)
        try:
            while left:
                try:
                    count = answer.readinto(buffer[: min(CHUNK, left)])
                except (OSError, http.client.HTTPException) as error:
                    raise Again("the connection broke: %s" % error)
                if not count:
                    raise Again("the answer was cut off")
                write_all(fd, buffer[:count], offset)
                sums.update(buffer[:count])
                offset, left = offset + count, left - count
        finally:
            os.close(fd)
        return sums.finish()[0]

    def _publish(self, work: Work) -> None:
        """Reads a file back, fetches again what is not what arrived, and gives it its name."""
        task = work.task
        for _ in range(3):
            found = [sums for sums, _ in self._files.sums(work.partial, work.spans)]
            bad = [span for span, blocks in zip(work.spans, found) if blocks != work.sums[span[0]]]
            if not bad:
                break
            for span in bad:
                self._fetch(work, span)
        else:
            raise Failure("%r is not on the disk as it was written: the file system is damaged" % task["path"])
        fd = self._files.open_partial(work.partial)
        target = raw(task["path"])
        row = self._files.publish(fd, work.partial, target, task["size"], task["mtime_ns"], task["executable"])
        self._files.remove(self._others(task))
        blocks = [block for at, _ in work.spans for block in work.sums[at]]
        line = {"done": task["path"], "print": task["print"], "file": task["file"], "pin": task["pin"], "size": row[1]}
        line.update(mtime_ns=row[2], there=row[3], executable=row[4], blocks=blocks)
        with self._lock:
            self._note(line)
            self._count(files=1)

    def _note(self, line: Dict[str, Any]) -> None:
        """Journals; whoever calls this or :meth:`_count` holds the lock."""
        self._journal.write(json.dumps(line) + "\n")

    def _count(self, **more: int) -> None:
        for key, value in more.items():
            self.counts[key] += value

    def _read_journals(self) -> Dict[Tuple[str, str], Dict[str, Any]]:
        """What earlier runs noted of this task's files."""
        known = {}  # type: Dict[Tuple[str, str], Dict[str, Any]]
        mine = {(task["path"], task["print"]) for task in self._mine}
        for line in journals(self._folder):
            key = (line.get("done") or line.get("path", ""), line["print"])
            if key in mine:
                noted = known.setdefault(key, {"sums": {}, "state": line.get("state", "")})
                if "done" in line:
                    noted["done"] = line
                elif line["state"] == noted["state"]:
                    noted["sums"][line["at"]] = line["blocks"]
        return known

    def _settle(self, tasks: Iterable[Dict[str, Any]]) -> None:
        folders = {b""}
        for task in tasks:
            folder = os.path.dirname(raw(task["path"]))
            while folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        self._files.sync(sorted(folders))

    def _beat(self, state: str) -> None:
        about = dict(self.counts, run=self._about["run"], task=self._number, state=state, problem=self.problem)
        about.update(host=socket.gethostname(), pid=os.getpid(), time=int(time.time()))
        about["job"] = _job()
        name = os.path.join(self._folder, "beat.%s.%d.json" % (self._about["run"], self._number))
        with open("%s.%s" % (name, self._tag), "w", encoding="ascii") as file:
            file.write(json.dumps(about))
        os.rename(file.name, name)

    def _finish(self) -> None:
        """Publishes the manifest if all tasks are done."""
        for number in range(self._about["tasks"]):
            try:
                beat = os.path.join(self._folder, "beat.%s.%d.json" % (self._about["run"], number))
                with open(beat, encoding="ascii") as file:
                    if json.loads(file.read())["state"] != "done":
                        return
            except (OSError, ValueError):
                return
        with open(os.path.join(self._folder, "kept.jsonl"), encoding="ascii") as file:
            rows = {row["path"]: row for row in map(json.loads, file)}
        for line in journals(self._folder):
            if (line.get("done"), line["print"]) in self._wanted:
                rows[line["done"]] = entry(line, self._about["set"])
        missing = sorted(path for path, _ in self._wanted if path not in rows)
        if missing:
            raise Failure("%r is not in any journal: run the same command again" % missing[0])
        data = manifest(rows.values(), self._about["sets"])
        name = raw(self._about["manifest"])
        before = self._about["before"]
        try:
            now = b"".join(map(bytes, self._files.read(name, 0, 2**62)))
        except FileNotFoundError:
            now = b""
        if (hashlib.sha256(now).hexdigest() if now else "") != before:
            if now != data:
                self.problem = "the folder's manifest changed meanwhile: run the same command again"
            self._beat("failed" if self.problem else "done")
            return
        partial = b"." + name + b".0-" + os.urandom(8).hex().encode("ascii") + PART_SUFFIX
        fd = self._files.create(partial)
        write_all(fd, memoryview(data), 0)
        self._files.publish(fd, partial, name, len(data), None, False)
        self._files.sync([b""])
        os.unlink(os.path.join(self._folder, "tasks.jsonl"))


def _job() -> str:
    return os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "")


def _changed(path: str) -> Failure:
    return Failure("%r was changed at its source since it was listed: run the same command again" % path)


def _refusal(path: str, code: int) -> Exception:
    if code in (401, 403):
        return Failure("%r is refused (HTTP %d): its URL or the key it was signed with has ended; "
                       "run the same command again, which signs new ones" % (path, code))  # fmt: skip
    if code in (404, 410, 412):
        return _changed(path)
    if code == 416:  # noqa: PLR2004 - Range Not Satisfiable: it is shorter now
        return _changed(path)
    if code in (408, 425, 429) or code >= 500:  # noqa: PLR2004
        return Again("HTTP %d" % code)
    return Failure("%r is refused with HTTP %d" % (path, code))


def main() -> int:
    """``python3 program.zip FOLDER [TASK]``: the task's number is by default that of the array."""
    folder = sys.argv[1]
    number = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("AIFA_ARRAY_TASK_ID", "0"))  # noqa: PLR2004
    try:
        puller = Puller(folder, number)
        done = puller.run()
    except FileNotFoundError as error:
        print("nothing to do: %s is gone; all was fetched, or it was taken back" % error.filename)  # noqa: T201
        return 0
    except Failure as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(puller.counts))  # noqa: T201
    if not done:
        print(puller.problem, file=sys.stderr)  # noqa: T201
    return 0 if done else 1
