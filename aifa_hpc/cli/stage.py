"""``aifa stage``: copy data so that it arrives whole, prove that it did, and keep it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from aifa_hpc.cli.base import Group, current_output
from aifa_hpc.cli.output import count_files
from aifa_hpc.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable

    from aifa_hpc.staging.engine import Summary
    from aifa_hpc.staging.plan import Plan
    from aifa_hpc.transfers import Proof

F = TypeVar("F", bound="Callable[..., Any]")

class_option = click.option(
    "--class",
    "data_class",
    metavar="CLASS",
    help="Class of the data: open or internal (sensitive stays); default_class in sites.toml by default.",
)
trust_option = click.option(
    "--trust",
    type=click.Choice(["verified", "durable"]),
    default="verified",
    show_default=True,
    help="Hash again what an interrupted run had sent, or believe that what was acknowledged as durable is there.",
)
delete_option = click.option(
    "--delete",
    is_flag=True,
    help="At last, delete what earlier copies from SRC made at DST and SRC no longer has; nothing else.",
)
from_option = click.option(
    "--from", "source", metavar="SRC", default="", help="Fetch from SRC, and not from where the manifest says."
)
limit_option = click.option(
    "--limit",
    metavar="RATE",
    envvar="AIFA_LIMIT",
    default="",
    help="Most bytes a second of all copies of yours together: 20M, or by the hour '08:00,20M 18:00,off'; $AIFA_LIMIT.",
)


def table_options(command: F) -> F:
    """Adds what is wanted of a table."""
    for option in (
        click.option("--no-relocate", is_flag=True, help="Keep an Iceberg table's metadata as it is."),
        click.option(
            "--mode",
            type=click.Choice(["files", "pushdown", "incremental"]),
            help="Of a table: whole files (default), new files of just these rows and columns, or only new files.",
        ),
        click.option(
            "--where", metavar="FILTER", default="", help="Rows of a table: label = 3 and day > '2026-01-01'."
        ),
        click.option("--columns", metavar="A,B", default="", help="Columns of a table; implies --mode pushdown."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def stage() -> None:
    """Copy data between here, sites and object stores, and prove it.

    Locations: a local path, SITE:/absolute/path, s3://bucket/prefix, or as a source any URL (https://, gs://, hf://)
    or a table: iceberg:CATALOG.NAMESPACE.TABLE[@TAG|@SNAPSHOT|@TIME], or the location of its .metadata.json. Of a
    folder of Parquet files, too, --columns and --where choose.
    """


def _wanted(source: str, columns: str, where: str, mode: Any, no_relocate: bool) -> str:
    from aifa_hpc.lakehouse.names import want  # noqa: PLC0415 - keeps `aifa --help` quick

    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    return want(source, columns=names, where=where, mode=mode, relocate=not no_relocate)


@stage.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@class_option
@trust_option
@delete_option
@limit_option
@click.option("--reuse", metavar="DIR", default="", help="Folder of DST's machine whose files may lend equal parts.")
@table_options
def copy(
    source: str,
    destination: str,
    *,
    data_class: str | None,
    trust: Any,
    delete: bool,
    limit: str,
    reuse: str,
    **table: Any,
) -> None:
    """Copy SRC to DST, resuming what an earlier run left.

    If SRC is a folder, what is in it goes below DST. If SRC is a file, DST is the file to be, unless it is a folder or
    ends with /. A file appears under its name only when it is complete and verified: by SHA-256, and at an object store
    by the strongest digest that it refuses when it is wrong, or by its ETags; the summary says which.
    """
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import stage as run  # noqa: PLC0415

    with show_progress(current_output()) as progress:
        summary = run(
            _wanted(source, **table), destination, data_class=data_class, trust=trust, delete=delete, reuse=reuse,
            limit=limit, progress=progress,
        )  # fmt: skip
    show_summary(summary)


@stage.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("-o", "--output", "path", type=click.Path(dir_okay=False), required=True, help="File to write to.")
@class_option
@delete_option
@table_options
def plan(source: str, destination: str, path: str, *, data_class: str | None, delete: bool, **table: Any) -> None:
    """Write down what a copy of SRC to DST would do, and send nothing."""
    from aifa_hpc.cli.files import write_file  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415
    from aifa_hpc.staging.planfile import write_plan  # noqa: PLC0415
    from aifa_hpc.transfers import plan as run  # noqa: PLC0415

    output = current_output()
    with show_progress(output) as progress:
        made = run(_wanted(source, **table), destination, data_class=data_class, delete=delete, progress=progress)
    write_file(path, "".join(write_plan(made)))
    output.record({"plan": path, **plan_fields(made.plan)}, f"{plan_line(made.plan)}; see {path}")


@stage.command()
@click.argument("path", metavar="PLAN", type=click.Path(dir_okay=False))
@trust_option
@limit_option
def apply(path: str, trust: Any, limit: str) -> None:
    """Carry out the plan in the file PLAN, if what is there is still what it was made for.

    Run again after an interruption, it goes on where it stopped.
    """
    from aifa_hpc.cli.files import read_file  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415
    from aifa_hpc.staging.planfile import read_plan  # noqa: PLC0415
    from aifa_hpc.transfers import apply as run  # noqa: PLC0415

    made = read_plan(read_file(path), path)
    with show_progress(current_output()) as progress:
        summary = run(made, trust=trust, limit=limit, progress=progress)
    show_summary(summary)


@stage.command()
@click.argument("destination", metavar="DST")
@click.option("--repair", "mend", is_flag=True, help="Fetch again what is missing or damaged: bad parts only.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Hash N blocks of all, not every byte.")
@click.option("--seed", type=int, default=0, help="Chooses the blocks of a sample.")
@from_option
@class_option
@limit_option
def verify(  # noqa: PLR0917 - click calls it by name
    destination: str, mend: bool, sample: int | None, seed: int, source: str, data_class: str | None, limit: str
) -> int:
    """Hash what is at DST, on its own side, and compare it with the manifest of its copies."""
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import prove  # noqa: PLC0415

    with show_progress(current_output(), work="sent" if mend else "checked") as progress:
        proof = prove(
            destination, level="sample" if sample else "full", sample=sample or 0, seed=seed, mend=mend,
            source=source, data_class=data_class, limit=limit, progress=progress,
        )  # fmt: skip
    return show_proof(proof)


def show_proof(proof: Proof) -> int:
    """Tells what a check found and what was done, and returns the exit code."""
    from aifa_hpc.units import show_size  # noqa: PLC0415 - keeps `aifa --help` quick

    output, report = current_output(), proof.report
    fetched = sum(summary.bytes_sent for summary in proof.repairs)
    fields = {
        "ok": proof.ok,
        "files": report.files,
        "bytes": report.bytes,
        "bytes_hashed": report.bytes_hashed,
        "bytes_repaired": fetched,
        "bytes_borrowed": sum(summary.bytes_borrowed for summary in proof.repairs),
        "damaged": [{"path": path, "reason": reason} for path, reason in report.damaged],
    }
    for path, reason in report.damaged:
        output.note(f"damaged: {path}: {reason}")
    what = f"{count_files(report.files)}, {show_size(report.bytes)}"
    if report.bytes_hashed != report.bytes:
        what += f" ({show_size(report.bytes_hashed)} hashed now)"
    if report.ok:
        text = f"verified: {what}"
    elif proof.ok:
        text = f"repaired: {len(report.damaged)} of {what}; fetched {show_size(fetched)}"
    else:
        text = f"not as they were sent: {len(report.damaged)} of {what}; `--repair` fetches them again"
    output.record(fields, text)
    return EXIT_DONE if proof.ok else EXIT_FAILED


def show_summary(summary: Summary) -> None:
    """Tells what a copy did."""
    output = current_output()
    output.record({key: getattr(summary, key) for key in summary.__slots__}, summary_line(summary))
    for path in summary.ignored:
        output.note(f"left out, not a file: {path}")
    for path in summary.spared:
        output.note(f"not deleted, as it was changed after it was copied: {path}")


_BY_LEVEL = {
    "store-sha256": " (the store checks SHA-256)",
    "store-md5": " (the store checks MD5)",
    "store-etag": " (by the store's ETags)",
    "durable": " (resumed parts as acknowledged)",
}
"""What a summary adds, where not both sides hashed every byte."""


def summary_line(summary: Summary) -> str:
    """A copy's summary as a person reads it."""
    from aifa_hpc.units import show_size  # noqa: PLC0415 - keeps `aifa --help` quick

    how = _BY_LEVEL.get(summary.level, "")
    parts = [f"{count_files(summary.files)}, {show_size(summary.bytes_total)} verified{how}"]
    if summary.bytes_sent:
        rate = summary.bytes_sent / summary.seconds if summary.seconds else 0.0
        parts.append(f"sent {show_size(summary.bytes_sent)} at {show_size(rate)}/s")
    if summary.bytes_packed:
        parts.append(f"packed to {show_size(summary.bytes_sent - summary.bytes_packed)} on the way")
    if summary.bytes_repaired:
        parts.append(f"{show_size(summary.bytes_repaired)} of it repaired")
    resumed = summary.bytes_reused - summary.bytes_borrowed
    if resumed:
        parts.append(f"resumed from {show_size(resumed)} ({summary.parts_resumed} parts)")
    if summary.bytes_borrowed:
        parts.append(f"{show_size(summary.bytes_borrowed)} copied from files there")
    if summary.bytes_skipped:
        parts.append(f"{show_size(summary.bytes_skipped)} were there already")
    if summary.files_removed:
        parts.append(f"{count_files(summary.files_removed)} deleted")
    return "; ".join(parts)


def plan_fields(plan: Plan) -> dict[str, Any]:
    """A plan's totals as machines get them."""
    from aifa_hpc.staging.plan import Verdict  # noqa: PLC0415 - keeps `aifa --help` quick

    sending, skipping = plan.of(Verdict.SEND), plan.of(Verdict.SKIP)
    return {
        "files": len(plan.actions),
        "bytes": plan.bytes,
        "send_files": len(sending),
        "send_bytes": sum(action.file.size for action in sending),
        "replace_files": sum(action.there is not None for action in sending),
        "skip_files": len(skipping),
        "delete_files": len(plan.deletes),
        "ignored": list(plan.ignored),
        "spared": list(plan.spared),
    }


def plan_line(plan: Plan) -> str:
    """A plan's totals as a person reads them."""
    from aifa_hpc.units import show_size  # noqa: PLC0415 - keeps `aifa --help` quick

    fields = plan_fields(plan)
    parts = [f"{count_files(fields['send_files'])}, {show_size(fields['send_bytes'])} to send"]
    if fields["replace_files"]:
        parts.append(f"{fields['replace_files']} of them in place of others")
    if fields["skip_files"]:
        parts.append(f"{count_files(fields['skip_files'])} there already")
    if fields["delete_files"]:
        parts.append(f"{count_files(fields['delete_files'])} to delete")
    return "; ".join(parts)
