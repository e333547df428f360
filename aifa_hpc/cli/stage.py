"""``aifa stage``: copy data so that it arrives whole, and prove that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aifa_hpc.cli.base import Group, current_output
from aifa_hpc.cli.output import count_files
from aifa_hpc.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from aifa_hpc.staging.engine import Summary


@click.group(cls=Group)
def stage() -> None:
    """Copy data between here, sites and object stores, and prove it.

    Locations: a local path, SITE:/absolute/path, or s3://bucket/prefix; SRC may be any URL that fsspec reads.
    """


@stage.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--class", "data_class", metavar="CLASS", help="Class of the data: open or internal (sensitive stays).")
def copy(source: str, destination: str, data_class: str | None) -> None:
    """Copy SRC to DST, resuming what an earlier run left.

    If SRC is a folder, what is in it goes below DST. If SRC is a file, DST is the file to be, unless it is a folder or
    ends with /. Nothing is deleted; a file appears under its name only when it is complete and verified.
    """
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import stage as run  # noqa: PLC0415

    output = current_output()
    with show_progress(output) as progress:
        summary = run(source, destination, data_class=data_class, progress=progress)
    output.record(summary_fields(summary), summary_line(summary))
    for path in summary.ignored:
        output.note(f"left out, not a file: {path}")


@stage.command()
@click.argument("destination", metavar="DST")
def verify(destination: str) -> int:
    """Hash what is at DST, on its own side, and compare it with the manifest of its copy."""
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import prove  # noqa: PLC0415
    from aifa_hpc.units import show_size  # noqa: PLC0415

    output = current_output()
    with show_progress(output) as progress:
        report = prove(destination, progress=progress)
    fields = {
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "damaged": [{"path": path, "reason": reason} for path, reason in report.damaged],
    }
    for path, reason in report.damaged:
        output.note(f"damaged: {path}: {reason}")
    what = f"{count_files(report.files)}, {show_size(report.bytes)}"
    text = f"verified: {what}" if report.ok else f"not as they were sent: {len(report.damaged)} of {what}; copy again"
    output.record(fields, text)
    return EXIT_DONE if report.ok else EXIT_FAILED


def summary_fields(summary: Summary) -> dict[str, Any]:
    """A copy's summary as machines get it."""
    return {key: getattr(summary, key) for key in summary.__slots__}


def summary_line(summary: Summary) -> str:
    """A copy's summary as a person reads it."""
    from aifa_hpc.units import show_size  # noqa: PLC0415 - keeps `aifa --help` quick

    parts = [f"{count_files(summary.files)}, {show_size(summary.bytes_total)} verified"]
    if summary.bytes_sent:
        rate = summary.bytes_sent / summary.seconds if summary.seconds else 0.0
        parts.append(f"sent {show_size(summary.bytes_sent)} at {show_size(rate)}/s")
    if summary.bytes_reused:
        parts.append(f"resumed from {show_size(summary.bytes_reused)} ({summary.parts_resumed} parts)")
    if summary.bytes_skipped:
        parts.append(f"{show_size(summary.bytes_skipped)} were there already")
    return "; ".join(parts)
