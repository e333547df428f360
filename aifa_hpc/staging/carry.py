"""One copy at work: gives parts to the crew, deletes what the plan says, and last publishes the manifest."""

from __future__ import annotations

import importlib.metadata
import math
from typing import TYPE_CHECKING

from aifa_hpc.errors import TransferError
from aifa_hpc.manifest import DataSet, Entry, Manifest, make_entry, weakest, write_manifest
from aifa_hpc.staging import geometry, resume
from aifa_hpc.staging.attempts import Attempts
from aifa_hpc.staging.compare import hashed
from aifa_hpc.staging.crew import Crew, FileWork, Job, Stopped
from aifa_hpc.staging.datasets import merge
from aifa_hpc.staging.donors import Donors
from aifa_hpc.staging.left import Leaving, Left, noting, write_left
from aifa_hpc.staging.model import Found, Partial, partial_path
from aifa_hpc.staging.plan import Action, Plan, Verdict, is_as_made
from aifa_hpc.staging.planning import published
from aifa_hpc.staging.progress import Counting, Progress
from aifa_hpc.staging.store import small_of, store_bytes
from aifa_hpc.staging.together import fits, send_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from aifa_hpc.staging.ledger import Ledger
    from aifa_hpc.staging.left import Looked
    from aifa_hpc.staging.plan import Blocks
    from aifa_hpc.staging.resume import Begun, Trust
    from aifa_hpc.staging.route import Route

_LOCAL_LANES = 4

_FILE_WEIGHT = 128 * 1024
"""What one more file costs, in bytes: about as long as these take to arrive, it takes to be durable."""

_LOANS = 8
"""Parts that are borrowed in one round trip."""


class Copying:
    """The work of one call of :func:`aifa_hpc.staging.engine.copy`, and what came of it.

    Args:
        route: From where to where.
        old: The manifest that an earlier copy left at the destination.
        ledger: What earlier runs knew.
        progress: Told of everything.
        done: Told how many bytes of the plan are done, with each change of that.
        trust: How parts of earlier runs are believed.
        reuse: Manifests of other folders of the destination's machine, by their absolute paths.
        expected: What files must hold, by path at the destination, where it is known: a repair.
        limit: Waits until so many bytes may go on.
        looked: What was found at the source.

    Attributes:
        counts: What was sent and found.
        level: At the end, what all is proven by.
    """

    level = ""

    def __init__(
        self,
        route: Route,
        *,
        old: Manifest | None,
        ledger: Ledger,
        progress: Progress,
        done: Callable[[int], None],
        trust: Trust,
        reuse: Mapping[str, Manifest],
        expected: Mapping[str, Entry],
        limit: Callable[[int], None],
        looked: Looked,
    ) -> None:
        self._route, self._ledger, self._trust, self._expected = route, ledger, trust, expected
        self._source, self._destination = route.source, route.destination
        self._limits = geometry.stricter(route.source.limits, route.destination.limits)
        self._entries: dict[str, Entry] = {}
        self._old = old
        self._donors = Donors(old, reuse)
        self._limit = limit
        self._looked, self._leaving = looked, Leaving(looked)
        self._note_here = noting(looked, route.source, ledger)
        self._attempts = Attempts(route.source, route.destination)
        self._levels: set[str] = set()
        self.counts = Counting(progress, done)
        self._progress = self.counts

    def carry_out(self, plan: Plan, lanes: int | None, now: datetime) -> str:
        """Does what the plan says, and publishes the manifest when all of it is done; returns its tree hash.

        Deletions come after everything was sent and proven: what is cut short before has deleted nothing.
        """
        self._progress.start(plan.files, plan.bytes)
        if plan.same_files:
            self._progress.skipped(plan.same_bytes)
        if self._looked.left is not None:
            self.level = self._looked.left.level
            return self._looked.left.tree
        self._keep_same()
        self._skip(plan.of(Verdict.SKIP))
        self._send_all(plan.of(Verdict.SEND), lanes)
        for doomed in plan.deletes:
            self._destination.remove([doomed.path])
            self._progress.removed(doomed.path)
        manifest, pin = self._publish_manifest([doomed.path for doomed in plan.deletes], now)
        self._note_left(plan, manifest, pin)
        return manifest.tree

    def _send_all(self, actions: Sequence[Action], lanes: int | None) -> None:
        steps = list(self._in_order(actions))
        while steps:
            if fits([action.file.size for step in steps for action in step], self._destination):
                steps = self._send_together(steps)
                if not steps:
                    return
            sending, *steps = steps
            self._send(sending, lanes)
            self._destination.settle(sorted(_folders(action.path for action in sending)))

    def _send_together(self, steps: Sequence[Sequence[Action]]) -> list[Sequence[Action]]:
        """Sends files in one call; what remains is to be sent in the usual way."""
        stranded = self._attempts.stranded([action for step in steps for action in step])
        works = [[self._whole(action) for action in step] for step in steps]
        send_together(
            works,
            source=self._source,
            destination=self._destination,
            progress=self._progress,
            limit=self._limit,
            arrived=self._arrived,
        )
        left = [
            [action for action, work in zip(*pair, strict=True) if work.missing]
            for pair in zip(steps, works, strict=True)
        ]
        if not any(left):
            self._attempts.discard(stranded)
        return list(filter(None, left))

    def _in_order(self, actions: Sequence[Action]) -> Iterator[Sequence[Action]]:
        """All at once, but what the source wants published last: that comes one by one."""
        last = self._source.last
        yield from filter(None, [[action for action in actions if action.file.path not in last]])
        for path in last:
            yield from ([action] for action in actions if action.file.path == path)

    def _keep_same(self) -> None:
        """What the manifest says of folders that did not change, it goes on saying."""
        if self._old is None or not self._looked.same:
            return
        for entry in self._old.entries:
            if entry.path.rpartition("/")[0] in self._looked.same and self._is_mine(self._old, entry):
                self._entries[entry.path] = entry
                self._levels.add(self._old.sets[entry.set].level)

    def _is_mine(self, manifest: Manifest, entry: Entry) -> bool:
        """Whether it belongs to the data set that is copied."""
        return manifest.sets[entry.set].place == self._source.identity

    def _skip(self, actions: Sequence[Action]) -> None:
        """Notes what is there already; of what was noted before nothing is made or written again: it may be much."""
        place = self._destination.identity
        noted = self._ledger.content(place, [action.path for action in actions])
        listed = {entry.path: entry for entry in self._old.entries} if actions and self._old is not None else {}
        for action in actions:
            there, blocks = action.there, action.there_blocks or ()
            assert there is not None, "skipped a file that is not there"
            if noted.get(action.path) != (there.pin, blocks):
                self._ledger.note_content(place, action.path, there.pin, blocks)
            self._leaving.add(action.path, there, sent=False)
            entry = listed.get(action.path)
            if self._old is None or entry is None:
                self._levels.add(self._destination.proof)
            else:
                self._levels.add(self._old.sets[entry.set].level)
            if (
                entry is not None
                and is_as_made(there, entry)
                and (entry.executable, entry.all_blocks) == (there.executable, blocks)
            ):
                self._entries[action.path] = entry
            else:
                self._note(action.path, there, blocks)
            self._progress.skipped(action.file.size)

    def _send(self, actions: Sequence[Action], lanes: int | None) -> None:
        stranded = self._attempts.stranded(actions)
        jobs = sum(len(geometry.cut(action.file.size, self._part_size(action.file.size))) for action in actions)
        worth = max(self._source.lane_worth, self._destination.lane_worth)
        weight = sum(action.file.size + _FILE_WEIGHT for action in actions)
        self._destination.prepare(actions[0].path, jobs)
        crew = Crew(
            source=self._source,
            destination=self._destination,
            ledger=self._ledger,
            progress=self._progress,
            published=self._arrived,
            limit=self._limit,
            first=min(lanes or min(self._source.first, self._destination.first, math.ceil(weight / worth)), jobs),
            lanes=min(lanes or self._lanes(), jobs),
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
        self._attempts.discard(stranded)

    def _lanes(self) -> int:
        """As many as the narrower side is worth; disks of one machine gain little by more than a few."""
        both = min(self._source.lanes, self._destination.lanes)
        return min(both, _LOCAL_LANES) if self._source.local and self._destination.local else both

    def _give(self, crew: Crew, action: Action, candidates: Sequence[Partial]) -> None:
        file = action.file
        part = self._part_size(file.size)
        parts = geometry.cut(file.size, part)
        if len(parts) == 1:
            crew.give(Job(work=self._whole(action), part=parts[0]))
            return
        target = self._attempts.target(action)
        blocks = self._blocks(action, several=True)
        wanted = geometry.group(blocks, part) if blocks else ()
        begun = resume.begin(
            file,
            action.path,
            source=self._source,
            destination=self._destination,
            ledger=self._ledger,
            part=part,
            trust=self._trust,
            candidates=candidates,
            blocks=blocks,
        )
        self._attempts.keep(begun.partial)
        for number in begun.sums:
            self._progress.resumed(parts[number].length)
        if blocks and self._destination.lends:
            self._borrow(action, begun, blocks, part)
        work = FileWork(
            file=file,
            target=target,
            partial=begun.partial,
            sums=[begun.sums.get(found.index) for found in parts],
            missing=len(parts) - len(begun.sums),
            wanted=wanted,
        )
        if not work.missing:
            with self._destination.lane() as lane:
                self._arrived(work, crew.publish(work, lane))
        # `begun.sums`, not `work.sums`: the crew fills that one already.
        for found in parts:
            if found.index not in begun.sums:
                crew.give(Job(work=work, part=found))

    def _whole(self, action: Action) -> FileWork:
        """A file that goes in one piece."""
        blocks = self._blocks(action, several=False)
        wanted = geometry.group(blocks, self._part_size(action.file.size)) if blocks else ()
        return FileWork(
            file=action.file, target=self._attempts.target(action), partial=None, sums=[None], missing=1, wanted=wanted
        )

    def _blocks(self, action: Action, *, several: bool) -> Blocks | None:
        """What the source file holds or must hold, if it is known or finding it out may save sending.

        Raises:
            TransferError: For a repair, the source file has another size than what was published.
        """
        expected = self._expected.get(action.path)
        if expected is not None:
            if expected.size != action.file.size:
                raise TransferError(
                    f"{action.file.path!r} at {self._source} has {action.file.size} bytes, and {expected.size} were "
                    f"published: it is no longer what the manifest says.",
                    hint="Copy the data set again, as it is now.",
                )
            return expected.all_blocks
        if action.here_blocks or not several or not self._destination.lends or self._source.checks_md5:
            return action.here_blocks
        if not self._donors.likely(action):
            return None
        blocks = hashed(self._source, {action.file.path: action.file})[action.file.path]
        self._note_here(action.file, blocks)
        return blocks

    def _borrow(self, action: Action, begun: Begun, blocks: Blocks, part: int) -> None:
        """Takes what published files of the destination hold already."""
        missing = [found for found in begun.parts if found.index not in begun.sums]
        loans = self._donors.loans(action, blocks, missing, part)
        for at in range(0, len(loans), _LOANS):
            asked = loans[at : at + _LOANS]
            for loan, lent in zip(asked, self._destination.borrow(begun.partial, asked), strict=True):
                if lent:
                    begun.sums[loan.part.index] = loan.sum
                    self._ledger.note_part(self._destination.identity, action.path, loan.part.index, loan.sum)
                    self._progress.reused(loan.part.length)

    def _arrived(self, work: FileWork, found: Found) -> None:
        """A file was published; called by whoever published it."""
        blocks = tuple(block for part in work.sums if part is not None for block in part.blocks)
        self._note_here(work.file, blocks)
        self._ledger.note_content(self._destination.identity, work.target.path, found.pin, blocks)
        if work.partial is not None:
            self._ledger.forget_unfinished(self._destination.identity, work.target.path)
        with self._progress.lock:
            self._levels.add(found.proof)
            self._note(work.target.path, found, blocks)
            self._leaving.add(work.target.path, found, sent=True)
        self._progress.finished(work.target.path)

    def _note(self, path: str, found: Found, blocks: Blocks) -> None:
        self._entries[path] = make_entry(
            path=path, size=found.size, blocks=blocks, mtime_ns=found.mtime_ns, executable=found.executable
        )

    def _publish_manifest(self, gone: Sequence[str], now: datetime) -> tuple[Manifest, str]:
        """What is published then, and the pin of that."""
        self._weigh(gone)
        data_set = DataSet(
            source=self._route.source_text,
            place=self._source.identity,
            tool=importlib.metadata.version("aifa_hpc"),
            level=self.level,
            published=now.isoformat(timespec="seconds"),
        )
        there = self._old
        manifest = merge(there, self._entries.values(), data_set, gone=gone)
        if manifest is not there and (replaced := self._replaced(manifest)) is not None:
            return manifest, replaced.pin
        if manifest is not there:
            # The copy may have taken hours, in which somebody else has published another data set in this folder.
            there = published(self._destination, self._route.manifest)
            manifest = merge(there, self._entries.values(), data_set, gone=gone)
        data = "".join(write_manifest(manifest)).encode("ascii")
        self._ledger.manifests.keep(self._route.place, data)
        if manifest is there:
            return manifest, self._destination.manifests[self._route.manifest][0]
        found = store_bytes(self._destination, self._route.manifest, data)
        self._destination.settle([""])
        return manifest, found.pin if found is not None else ""

    def _note_left(self, plan: Plan, manifest: Manifest, pin: str) -> None:
        """Keeps what the next copy need not look at."""
        folders = self._leaving.folders(plan.ignored)
        if folders:
            mine = sum(self._is_mine(manifest, entry) for entry in manifest.entries)
            left = Left(
                manifest=pin, tree=manifest.tree, level=self.level, leftover=mine != plan.files, folders=folders
            )
            self._ledger.left.keep(self._route.place, write_left(left), self._source.identity)

    def _replaced(self, manifest: Manifest) -> Found | None:
        """Publishes it where the one that was read is still there, if the destination can tell that in one call."""
        pin, known = self._destination.manifests.get(self._route.manifest, ("", None))
        if known is not self._old or not self._destination.pins_tell:
            return None
        data = "".join(write_manifest(manifest)).encode("ascii")
        self._ledger.manifests.keep(self._route.place, data)
        return self._destination.replace(small_of(self._route.manifest, data), pin)

    def _weigh(self, gone: Sequence[str]) -> None:
        """Finds what the data set is proven by: what was published now, and what of it was there before."""
        if self._trust == "durable" and self.counts.parts_resumed:
            self._levels.add("durable")
        entries, sets = (self._old.entries, self._old.sets) if self._old is not None else ((), ())
        new, place = self._entries.keys() | gone, self._source.identity
        self._levels.update(
            sets[one.set].level for one in entries if one.path not in new and sets[one.set].place == place
        )
        self.level = weakest(self._levels)

    def _part_size(self, size: int) -> int:
        return geometry.part_size(size, self._limits)


def _folders(paths: Iterable[str]) -> set[str]:
    """The folders that hold these files, and those above them."""
    found = {""}
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
