"""``aifa lab``: data labs, their data sets, and their copies at sites and in buckets."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aifa_hpc.cli.base import Group, current_output
from aifa_hpc.cli.stage import limit_option
from aifa_hpc.errors import EXIT_DONE, AifaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aifa_hpc.labs.area import Area
    from aifa_hpc.labs.registry import LabData
    from aifa_hpc.labs.sync import Synced

F = TypeVar("F", bound="Callable[..., Any]")

_DATA = "LAB/DATASET"


def quiet_option(text: str) -> Callable[[F], F]:
    """``--quiet``, for cron."""
    return click.option("-q", "--quiet", is_flag=True, help=text)


@click.group(cls=Group)
def lab() -> None:
    """Keep copies of data labs' data sets up to date, and bring results back.

    labs.toml in the configuration folder names labs and data sets. A destination is a site's folder (SITE:/path), a
    bucket (s3://bucket/prefix) or a local path; a data set is in LAB/DATASET below it.
    """


@lab.command("list")
@click.argument("name", metavar="[LAB]", required=False)
@quiet_option("Names only.")
def list_labs(name: str | None, quiet: bool) -> None:
    """List the data sets of all labs, or of LAB."""
    rows = [
        {
            "data": str(data),
            "class": data.data_class,
            "licence": data.licence,
            "keep": data.keep or None,
            "title": data.title,
            "location": data.source,
        }
        for data in _chosen(name)
    ]
    columns = ("data",) if quiet else ("data", "class", "licence", "keep", "title", "location")
    current_output().table(columns, rows, empty="no labs are known: `aifa lab add LAB/DATASET LOCATION` makes one")


@lab.command()
@click.argument("name", metavar=_DATA)
def show(name: str) -> None:
    """Show all that the registry says of a data set."""
    data = _one(name)
    fields = {
        "data": str(data),
        "title": data.title,
        "description": data.description,
        "class": data.data_class,
        "licence": data.licence,
        "policy": data.policy,
        "publisher": data.publisher,
        "contact": data.contact,
        "location": data.source,
        "keep": data.keep,
    }
    current_output().record(fields, "\n".join(f"{key}: {value}" for key, value in fields.items() if value))


@lab.command()
@click.argument("name", metavar=_DATA)
@click.argument("location", metavar="LOCATION")
@click.option("--class", "class", metavar="CLASS", help="open, internal or sensitive; the lab's by default.")
@click.option("--title", help="For people.")
@click.option("--description", help="What it is, in a few sentences.")
@click.option("--licence", help="SPDX id or URL.")
@click.option("--policy", metavar="URL", help="Terms of use.")
@click.option("--contact", metavar="MAIL", help="Mail address or URL.")
@click.option("--columns", metavar="A,B", help="Columns of a table.")
@click.option("--where", metavar="FILTER", help="Rows of a table.")
@click.option("--mode", help="As for `aifa stage copy`.")
@click.option("--keep", type=click.IntRange(min=0), help="Versions that stay at a destination; 0 (default) for all.")
@quiet_option("Say nothing.")
def add(name: str, location: str, *, quiet: bool, columns: str | None, **keys: Any) -> None:
    """Write a data set into labs.toml; LOCATION is what `aifa stage copy` takes as SRC."""
    from aifa_hpc.labs.registry import save_data  # noqa: PLC0415 - keeps `aifa --help` quick

    lab_name, _, data = name.partition("/")
    if not data:
        raise click.UsageError(f"{name!r} names no data set; write LAB/DATASET.")
    given: dict[str, Any] = {"location": location} | {key: value for key, value in keys.items() if value is not None}
    if columns:
        given["columns"] = [column.strip() for column in columns.split(",") if column.strip()]
    path = save_data(lab_name, data, given)
    if not quiet:
        current_output().record({"data": name, "file": str(path)}, f"{name} is in {path}")


@lab.command()
@click.argument("name", metavar="LAB[/DATASET]")
@click.argument("destination", metavar="DEST")
@limit_option
@quiet_option("Say nothing but errors.")
def sync(name: str, destination: str, limit: str, quiet: bool) -> int:
    """Make DEST/LAB/DATASET what the data set is now; a second time, nothing is sent.

    For cron: one sync of a data set to a place runs at a time, what was interrupted goes on, and of several data sets
    each is tried. The exit code is the highest of theirs: 1 it stopped, or another sync is at work; 2 the registry or
    the source is wrong, or the data may not leave; 3 the site or the wire failed.
    """
    from aifa_hpc.cli.progress import show_progress  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.labs.sync import sync as run  # noqa: PLC0415
    from aifa_hpc.staging.progress import silent  # noqa: PLC0415

    output, code = current_output(), EXIT_DONE
    for data in _chosen(name):
        try:
            with nullcontext(silent) if quiet else show_progress(output) as progress:
                done = run(data, destination, limit=limit, progress=progress)
        except AifaError as error:
            output.note(f"{data} is not synced:")
            output.error(error)
            code = max(code, error.exit_code)
            continue
        if not quiet:
            _show(done)
    return code


@lab.command()
@click.argument("name", metavar="LAB[/DATASET]")
@click.argument("destination", metavar="DEST")
@quiet_option("Names of versions only.")
def status(name: str, destination: str, quiet: bool) -> None:
    """List the versions at DEST, the present one last, and the runs that pin them."""
    from aifa_hpc.labs.area import look  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.units import show_size  # noqa: PLC0415

    rows = []
    for data in _chosen(name):
        with _area(data, destination) as area:
            for seen in look(area):
                version = seen.version
                rows.append(
                    {
                        "data": str(data),
                        "version": version.name,
                        "state": seen.state,
                        "published": version.published,
                        "files": version.files,
                        "size": show_size(version.bytes),
                        "pins": " ".join(seen.pins),
                        "source": version.source,
                    }
                )
    columns = ("data", "version", "state", "published", "files", "size", "pins", "source")
    current_output().table(
        ("version",) if quiet else columns, rows, empty=f"{name} was not synced to {destination} yet"
    )


@lab.command()
@click.argument("name", metavar=_DATA)
@click.argument("destination", metavar="DEST")
@click.argument("version", metavar="[VERSION]", default="")
@click.option("--as", "pin_name", metavar="NAME", required=True, help="Of the run that needs it.")
@quiet_option("Say nothing.")
def pin(name: str, destination: str, version: str, pin_name: str, quiet: bool) -> None:
    """Keep a version at DEST (the present one by default) until it is unpinned, and tell its manifest.

    A run reads by that manifest just the files of its version, whatever is synced meanwhile.
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps `aifa --help` quick

    from aifa_hpc.labs.area import pin as run  # noqa: PLC0415

    with _area(_one(name), destination) as area:
        found = run(area, pin_name, version, datetime.now(UTC))
        manifest = f"{str(area.target).rstrip('/')}/{found.manifest}"
    if not quiet:
        fields = {"data": name, "version": found.name, "pin": pin_name, "manifest": manifest}
        current_output().record(fields, manifest)


@lab.command()
@click.argument("name", metavar=_DATA)
@click.argument("destination", metavar="DEST")
@click.argument("pin_name", metavar="NAME")
@quiet_option("Say nothing.")
def unpin(name: str, destination: str, pin_name: str, quiet: bool) -> None:
    """Let the version go that NAME pinned: a later sync may delete what only it needs."""
    from aifa_hpc.labs.area import unpin as run  # noqa: PLC0415 - keeps `aifa --help` quick

    with _area(_one(name), destination) as area:
        run(area, pin_name)
    if not quiet:
        current_output().record({"data": name, "unpinned": pin_name}, f"{pin_name} pins nothing of {name} any more")


@lab.command()
@click.argument("name", metavar=_DATA)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--token", default="", help="Names this append for ever; made of what the files hold by default.")
@quiet_option("Say nothing.")
def append(name: str, paths: tuple[str, ...], token: str, quiet: bool) -> None:
    """Append the rows of Parquet files to a data set that is an Iceberg table, as one commit, exactly once.

    Repeating it is safe: what has landed is found. Results of a site are fetched first with `aifa stage copy`.
    """
    from aifa_hpc.labs.writeback import append_files  # noqa: PLC0415 - keeps `aifa --help` quick

    done = append_files(_one(name), paths, token=token)
    if not quiet:
        fields = {"data": name, "snapshot": done.snapshot_id, "rows": done.rows, "again": done.again}
        said = "were there already, in" if done.again else "are in"
        current_output().record(fields, f"{done.rows} rows {said} snapshot {done.snapshot_id} of {name}")


def _show(done: Synced) -> None:
    from aifa_hpc.cli.stage import summary_line  # noqa: PLC0415 - keeps `aifa --help` quick

    fields = {
        "data": str(done.data),
        "folder": done.folder,
        "version": done.version.name,
        "changed": done.changed,
        "manifest": done.version.manifest,
        "versions_removed": list(done.versions_removed),
        "files_removed": done.files_removed,
        "spared": list(done.spared),
    }
    summary = done.summary
    fields |= {key: getattr(summary, key) for key in summary.__slots__ if key not in {*fields, "ignored", "tree"}}
    text = f"{done.data}: version {done.version.name}; {summary_line(summary)}"
    if not done.changed:
        text = f"{done.data}: version {done.version.name} is there already"
    if done.versions_removed:
        text += f"; let go of {', '.join(done.versions_removed)} ({done.files_removed} files)"
    current_output().record(fields, text)
    for path in done.spared:
        current_output().note(f"not deleted, as it was changed after it was copied: {path}")


def _chosen(name: str | None) -> list[LabData]:
    from aifa_hpc.labs.registry import choose, load_labs  # noqa: PLC0415 - keeps `aifa --help` quick

    labs = load_labs()
    return choose(labs, name) if name is not None else [data for lab in labs.values() for data in lab.values()]


def _one(name: str) -> LabData:
    if "/" not in name:
        raise click.UsageError(f"{name!r} names no data set; write LAB/DATASET.")
    return _chosen(name)[0]


@contextmanager
def _area(data: LabData, destination: str) -> Iterator[Area]:
    from aifa_hpc.labs.area import open_area  # noqa: PLC0415 - keeps `aifa --help` quick
    from aifa_hpc.transfers import open_places  # noqa: PLC0415

    with open_places() as places:
        yield open_area(places, data, destination)
