"""One copy at work: lists, plans, compares, gives parts to the crew, and publishes the manifest."""

from __future__ import annotations

import importlib.metadata
import logging
import secrets
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aifa_hpc.errors import ParseError
from aifa_hpc.manifest import Entry, Manifest, blocks_of, make_entry, make_manifest, read_manifest, write_manifest
from aifa_hpc.staging import geometry, resume
from aifa_hpc.staging.crew import Crew, FileWork, Job, Stopped
from aifa_hpc.staging.model import Found, Part, Partial, Target, fingerprint, new_token, partial_path
from aifa_hpc.staging.plan import Action, Plan, Verdict, known_here, known_there, make_plan, settled
from aifa_hpc.staging.progress import Progress
from aifa_hpc.staging.store import store_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aifa_hpc.staging.endpoints.base import Endpoint
    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.plan import Blocks
    from aifa_hpc.staging.resume import Trust
    from aifa_hpc.staging.route import Route

_log = logging.getLogger(__name__)

_STAT_BATCH = 1000
"""Files asked about in one round trip."""

_LOCAL_LANES = 4


class Copying:
    """The work of one call of :func:`aifa_hpc.staging.engine.copy`, and what came of it."""

    def __init__(self, route: Route, *, ledger: Ledger, progress: Progress, trust: Trust, recheck: bool) -> None:
        self._route, self._ledger, self._trust, self._recheck = route, ledger, trust, recheck
        self._source, self._destination = route.source, route.destination
        self._progress = _Counting(progress)
        self._limits = geometry.stricter(route.source.limits, route.destination.limits)
        self._entries: dict[str, Entry] = {}
        self._published: dict[str, Manifest] = {}
        self._prints: set[str] = set()
        self._tokens: set[str] = set()
        self.files_sent = 0
        self.bytes_reused = 0
        self.bytes_skipped = 0
        self.parts_resumed = 0

    @property
    def bytes_sent(self) -> int:
        """Bytes that went over, those of parts that had to be repeated too."""
        return self._progress.sent

    def plan(self) -> Plan:
        """Lists both sides and decides; compares by hash what sizes alone do not settle."""
        route = self._route
        if route.only:
            files = [found for found in self._source.stat([route.only]) if found is not None]
            names = {route.only: route.name}
        else:
            files, names = list(self._source.scan()), {}
        paths = [names.get(file.path, file.path) for file in files if file.size >= 0]
        there = {found.path: found for found in _stat(self._destination, paths)}
        noted = self._ledger.content(self._destination.identity)
        plan = make_plan(
            files,
            names=names,
            there=there,
            here_known=known_here(files, self._ledger.content(self._source.identity)),
            there_known={} if self._recheck else known_there(there, noted, self._manifest()),
        )
        return Plan(actions=tuple(self._compare(plan.actions)), ignored=plan.ignored)

    def carry_out(self, plan: Plan, lanes: int | None) -> Manifest:
        """Does what the plan says, and publishes the manifest when all of it is done."""
        self._progress.start(len(plan.actions), plan.bytes)
        for action in plan.of(Verdict.SKIP):
            self._skip(action)
        sending = plan.of(Verdict.SEND)
        if sending:
            self._send(sending, lanes)
            self._destination.settle(sorted(_folders(action.path for action in sending)))
        return self._publish_manifest()

    def _manifest(self) -> Manifest | None:
        """The one that an earlier copy published; one that cannot be read is as good as none."""
        data = self._destination.read_bytes(self._route.manifest)
        try:
            found = read_manifest(data.decode("ascii")) if data is not None else None
        except (ParseError, UnicodeDecodeError) as error:
            _log.warning("the manifest at %s is not used: %s", self._destination, error)
            return None
        if found is not None:
            self._published[self._route.manifest] = found
        return found

    def _compare(self, actions: Sequence[Action]) -> Iterator[Action]:
        doubtful = [action for action in actions if action.verdict is Verdict.COMPARE]
        if not doubtful:
            yield from actions
            return
        self._progress.checking(len(doubtful))
        by_md5 = self._destination.checks_md5 or self._source.checks_md5
        compared = self._by_md5(doubtful) if by_md5 else self._by_sha256(doubtful)
        for action in actions:
            yield compared.get(action.path, action)

    def _by_sha256(self, actions: Sequence[Action]) -> dict[str, Action]:
        """Hashes both sides at the same time, each where it lies."""

        def hashed(place: Endpoint, files: dict[str, Found]) -> dict[str, Blocks]:
            wanted = [(path, [Part(index=0, offset=0, length=file.size)]) for path, file in files.items()]
            sums = place.sums(wanted)
            return {path: found[0].blocks for (path, _), found in zip(wanted, sums, strict=True)}

        here = {action.file.path: action.file for action in actions if action.here_blocks is None}
        there = {action.path: action.there for action in actions if action.there_blocks is None and action.there}
        with ThreadPoolExecutor(2) as pool:
            here_job, there_job = pool.submit(hashed, self._source, here), pool.submit(hashed, self._destination, there)
            here_found, there_found = here_job.result(), there_job.result()
        compared = {}
        for action in actions:
            here_blocks = action.here_blocks if action.here_blocks is not None else here_found[action.file.path]
            there_blocks = action.there_blocks if action.there_blocks is not None else there_found[action.path]
            if len(here_blocks) == blocks_of(action.file.size):
                self._ledger.note_content(self._source.identity, action.file.path, action.file.pin, here_blocks)
            compared[action.path] = settled(action, here_blocks, there_blocks)
        return compared

    def _by_md5(self, actions: Sequence[Action]) -> dict[str, Action]:
        """Hashes one side only: the store on the other says what it holds."""
        store_is_there = self._destination.checks_md5
        hashing, store = (self._source, self._destination) if store_is_there else (self._destination, self._source)
        wanted = [
            (
                action.file.path if store_is_there else action.path,
                geometry.cut(action.file.size, geometry.part_size(action.file.size, store.limits)),
            )
            for action in actions
        ]
        compared = {}
        for action, sums in zip(actions, hashing.sums(wanted, md5=True), strict=True):
            blocks = tuple(block for found in sums for block in found.blocks)
            kept = action.there if store_is_there else action.file
            same = kept is not None and store.matches(kept, sums)
            if same or store_is_there:
                self._ledger.note_content(self._source.identity, action.file.path, action.file.pin, blocks)
            compared[action.path] = (
                settled(action, blocks, blocks if same else ())
                if store_is_there
                else settled(action, blocks if same else (), blocks)
            )
        return compared

    def _skip(self, action: Action) -> None:
        assert action.there is not None, "skipped a file that is not there"
        blocks = action.there_blocks or ()
        self._ledger.note_content(self._destination.identity, action.path, action.there.pin, blocks)
        self._note(action.path, action.there, blocks)
        self.bytes_skipped += action.file.size
        self._progress.skipped(action.file.size)

    def _send(self, actions: Sequence[Action], lanes: int | None) -> None:
        stranded = self._stranded(actions)
        jobs = sum(len(geometry.cut(action.file.size, self._part_size(action.file.size))) for action in actions)
        crew = Crew(
            source=self._source,
            destination=self._destination,
            ledger=self._ledger,
            progress=self._progress,
            published=self._arrived,
            lanes=max(1, min(lanes or self._lanes(), jobs)),
        )
        try:
            for action in actions:
                self._give(crew, action, stranded.get(partial_path(action.path, ""), []))
        except Stopped:
            pass  # finish() raises what stopped it
        except BaseException:
            crew.abort()
            raise
        crew.finish()
        self._destination.discard(
            [
                partial
                for found in stranded.values()
                for partial in found
                if partial.token.partition("-")[0] in self._prints and partial.token not in self._tokens
            ]
        )

    def _lanes(self) -> int:
        """As many as the narrower side is worth; disks of one machine gain little by more than a few."""
        both = min(self._source.lanes, self._destination.lanes)
        return min(both, _LOCAL_LANES) if self._source.local and self._destination.local else both

    def _stranded(self, actions: Iterable[Action]) -> dict[str, list[Partial]]:
        """Partial files in the folders that are written to, by the names they share with their target."""
        folders = sorted({action.path.rpartition("/")[0] for action in actions})
        found = defaultdict(list)
        for partial in self._destination.partials(folders):
            found[partial_path(partial.path, "")].append(partial)
        return dict(found)

    def _give(self, crew: Crew, action: Action, candidates: Sequence[Partial]) -> None:
        file = action.file
        print_ = fingerprint(self._source.identity, file)
        self._prints.add(print_)
        target = Target(
            path=action.path,
            size=file.size,
            mtime_ns=file.mtime_ns,
            executable=file.executable,
            token=new_token(print_, secrets.token_hex(4)),
        )
        part = self._part_size(file.size)
        parts = geometry.cut(file.size, part)
        if len(parts) == 1:
            work = FileWork(file=file, target=target, partial=None, sums=[None], missing=1)
            crew.give(Job(work=work, part=parts[0]))
            return
        begun = resume.begin(
            file,
            action.path,
            source=self._source,
            destination=self._destination,
            ledger=self._ledger,
            part=part,
            trust=self._trust,
            candidates=candidates,
            blocks=action.here_blocks,
        )
        self._tokens.add(begun.partial.token)
        work = FileWork(
            file=file,
            target=target,
            partial=begun.partial,
            sums=[begun.sums.get(found.index) for found in parts],
            missing=len(parts) - len(begun.sums),
        )
        reused = sum(found.length for found in parts if found.index in begun.sums)
        self.bytes_reused += reused
        self.parts_resumed += len(begun.sums)
        if reused:
            self._progress.resumed(reused)
        if not work.missing:
            with self._destination.lane() as lane:
                self._arrived(work, crew.publish(work, lane))
        # `begun.sums`, not `work.sums`: the crew fills that one already.
        for found in parts:
            if found.index not in begun.sums:
                crew.give(Job(work=work, part=found))

    def _arrived(self, work: FileWork, found: Found) -> None:
        """A file was published; called by whoever published it."""
        blocks = tuple(block for part in work.sums if part is not None for block in part.blocks)
        self._ledger.note_content(self._source.identity, work.file.path, work.file.pin, blocks)
        self._ledger.note_content(self._destination.identity, work.target.path, found.pin, blocks)
        if work.partial is not None:
            self._ledger.forget_unfinished(self._destination.identity, work.target.path)
        with self._progress.lock:
            self._note(work.target.path, found, blocks)
            self.files_sent += 1
        self._progress.finished(work.target.path)

    def _note(self, path: str, found: Found, blocks: Blocks) -> None:
        self._entries[path] = make_entry(
            path=path, size=found.size, blocks=blocks, mtime_ns=found.mtime_ns, executable=found.executable
        )

    def _publish_manifest(self) -> Manifest:
        manifest = make_manifest(
            self._entries.values(), source=str(self._source), tool=importlib.metadata.version("aifa_hpc")
        )
        if self._published.get(self._route.manifest) != manifest:
            store_bytes(self._destination, self._route.manifest, "".join(write_manifest(manifest)).encode("ascii"))
            self._destination.settle([""])
        return manifest

    def _part_size(self, size: int) -> int:
        return geometry.part_size(size, self._limits)


class _Counting(Progress):
    """Passes on one call at a time, and counts what was sent."""

    def __init__(self, inner: Progress) -> None:
        self.lock = threading.RLock()
        self.sent = 0
        self._inner = inner

    def start(self, files: int, size: int) -> None:
        with self.lock:
            self._inner.start(files, size)

    def checking(self, files: int) -> None:
        with self.lock:
            self._inner.checking(files)

    def skipped(self, size: int) -> None:
        with self.lock:
            self._inner.skipped(size)

    def resumed(self, size: int) -> None:
        with self.lock:
            self._inner.resumed(size)

    def advance(self, size: int) -> None:
        with self.lock:
            self.sent += max(size, 0)
            self._inner.advance(size)

    def finished(self, path: str) -> None:
        with self.lock:
            self._inner.finished(path)


def _stat(place: Endpoint, paths: Sequence[str]) -> Iterator[Found]:
    for at in range(0, len(paths), _STAT_BATCH):
        yield from (found for found in place.stat(paths[at : at + _STAT_BATCH]) if found is not None)


def _folders(paths: Iterable[str]) -> set[str]:
    """The folders that hold these files, and those above them."""
    found = {""}
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
