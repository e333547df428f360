"""``aifa stage ensure``, ``gc`` and ``status``: what keeps data there, what was left, and what is remembered."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from aifa_hpc.cli.base import Command, current_output
from aifa_hpc.cli.stage import class_option, from_option, limit_option, show_proof

if TYPE_CHECKING:
    from aifa_hpc.staging.ledger import Remembered

_DAY = 86400.0
_OLDER_DAYS = 7.0


@click.command(cls=Command)
@click.argument("manifest", metavar="MANIFEST")
@from_option
@class_option
@limit_option
def ensure(manifest: str, source: str, data_class: str | None, limit: str) -> int:
    """Make sure that all of MANIFEST is there, and fetch again only what was purged or damaged.

    MANIFEST is the place a copy went to, or the manifest in it (SITE:/path/.aifa-manifest.jsonl). Files that were
    proven before and not touched since are believed, so that this is quick enough to go before every job.
    """
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import prove  # noqa: PLC0415

    with show_progress(current_output()) as progress:
        proof = prove(
            manifest, level="known", mend=True, source=source, data_class=data_class, limit=limit, progress=progress
        )
    return show_proof(proof)


@click.command(cls=Command)
@click.argument("destination", metavar="DST")
@click.option("--older", "days", type=click.FloatRange(min=0), default=_OLDER_DAYS, show_default=True, metavar="DAYS",
              help="Leave what was written to since.")  # fmt: skip
@click.option("--remove", is_flag=True, help="Remove what is listed as removable; without it, nothing is.")
def gc(destination: str, days: float, remove: bool) -> None:
    """List what interrupted copies left below DST: partial files, and uploads that an object store keeps and bills.

    Only what this program made is removed, only when it is old enough, and only with --remove.
    """
    from aifa_hpc.transfers import strays  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.units import show_size  # noqa: PLC0415

    output = current_output()
    found = strays(destination, older=days * _DAY, remove=remove)
    rows = [
        {
            "state": ("removed" if remove else "removable") if stray.removable else "stays",
            "age_days": round(stray.age / _DAY, 1),
            "size": show_size(stray.partial.size) if stray.partial.size < 2**62 else None,
            "reason": stray.reason,
            "path": stray.partial.path,
            "token": stray.partial.token,
        }
        for stray in found
    ]
    output.table(("state", "age_days", "size", "reason", "path"), rows, empty="nothing was left there")
    if not remove and any(stray.removable for stray in found):
        output.note("nothing was removed: `--remove` does")


@click.command(cls=Command)
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False), help="File to write to.")
def checker(path: str | None) -> None:
    """Print a program that checks manifests on a node without a network.

    One file for Python 3.6 or newer, with nothing installed: python3 check.py --sample 100 MANIFEST
    """
    from importlib import resources  # noqa: PLC0415 - keeps `aifa --help` quick

    from aifa_hpc.cli.files import write_file  # noqa: PLC0415

    text = (resources.files("aifa_hpc.staging") / "checker.py").read_text("utf-8")
    if path is None:
        current_output().text("program", text)
    else:
        write_file(path, text)
        current_output().record({"path": path}, f"written: {path}; run it with python3 {path} MANIFEST")


@click.command(cls=Command)
def status() -> None:
    """List the copies that this machine remembers: running, interrupted, failed, done."""
    from aifa_hpc.transfers import copies  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.units import show_size  # noqa: PLC0415

    known, unfinished = copies()
    parts = Counter[str]()
    for place, _, partial in unfinished:
        parts[place] += len(partial.sums)
    rows = [
        {
            "state": _state(copy),
            "source": copy.source,
            "destination": copy.destination,
            "files": copy.files,
            "size": show_size(copy.bytes),
            "begun": datetime.fromtimestamp(copy.begun, UTC).isoformat(timespec="seconds"),
            "ended": datetime.fromtimestamp(copy.ended, UTC).isoformat(timespec="seconds") if copy.ended else None,
            "parts_there": parts.get(copy.place.rpartition("/")[0]),
            "problem": copy.problem.replace(":\n  - ", ": ").replace("\n  - ", "; "),
        }
        for copy in known
    ]
    columns = ("state", "source", "destination", "files", "size", "begun", "parts_there", "problem")
    current_output().table(columns, rows, empty="no copies are remembered on this machine")


def _state(copy: Remembered) -> str:
    if copy.pid:
        return "RUNNING"
    if copy.ended is None:
        return "INTERRUPTED"
    return "FAILED" if copy.problem else "COMPLETED"
