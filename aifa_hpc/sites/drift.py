"""A profile against what the site tells of itself: one row for each fact that can be compared.

Only what the site says counts: what a program is not allowed to tell, or where no limit is to be seen, is *not told*,
and never drift.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aifa_hpc.sites.limits import nodes, partitions, qos, reservations
from aifa_hpc.sites.overrides import WITHOUT
from aifa_hpc.sites.told import NOTHING, Gone, Row, Tables, Told, Verdict, number_of, row_of, show, version_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from aifa_hpc.sites.model import Fact, Site

_SETTLES = {"conflict": "settles a conflict of sources", "unverified": "settles what was not verified"}


def places(site: Site) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Folders that should be there and writable, by the key that names them; ``{user}`` is left for the site to fill.

    Folders of a project are left out where no account is configured.
    """
    filled = [(path, _fill(text, site.access.account)) for path, text in _folders(site)]
    return tuple((path, text) for path, text in filled if text)


def _folders(site: Site) -> list[tuple[tuple[str, ...], str]]:
    found: list[tuple[tuple[str, ...], str]] = [
        (("areas", name, "path"), area.path) for name, area in site.areas.items()
    ]
    if site.access.transport != "embedded":  # which keeps its jobs in the state folder here
        found.insert(0, (("access", "workdir"), site.access.workdir or "{home}/aifa"))
    return found


def _fill(text: str, account: str) -> str:
    filled = text.replace("{account}", account).replace("{project}", account)
    return filled if account or filled == text else ""


def tools(site: Site) -> tuple[str, ...]:
    """Programs that should be there."""
    return ("sbatch", *((site.container.runtime,) if site.container else ()))


def compare(
    site: Site, tables: Tables, silent: Mapping[str, str], doubts: Iterable[tuple[str, Fact]]
) -> tuple[Row, ...]:
    """Everything the site confirms, contradicts, adds or does not tell.

    Args:
        site: The profile with the user's own settings.
        tables: What the site told.
        silent: Why a section told nothing.
        doubts: The profile's facts that are not certain, by their dotted keys.
    """
    told = Told(site=site, tables=tables, silent=silent)
    rows = [*_scheduler(told), *_accounts(told), *_login(told), *_tools(told), *_places(told)]
    rows += [*partitions(told), *nodes(told), *qos(told), *reservations(told)]
    return tuple(_settled(rows, doubts))


def overrides(rows: Sequence[Row], doubts: Iterable[tuple[str, Fact]], host: str, today: dt.date) -> dict[str, Any]:
    """What ``sites.toml`` must say so that the profile agrees with the site: tables by their keys.

    Facts whose doubts the site has settled are marked as verified.
    """
    tables: dict[str, Any] = {}
    settled = [tuple(key.split(".")) for key, _ in doubts]
    touched = [row.path[:-1] for row in rows if row.status in {"drift", "new"} and row.value is not None]
    touched += [path for path in settled if _all_told(rows, path)]
    for path in dict.fromkeys(touched):
        table = tables
        for name in path:
            table = table.setdefault(name, {})
        own = [row for row in rows if row.path[:-1] == path and row.status in {"drift", "new"}]
        table |= {row.path[-1]: row.value for row in own if row.value is not None and row.value is not Gone.GONE}
        if gone := [row.path[-1] for row in own if row.value is Gone.GONE]:
            table[WITHOUT] = gone
        table |= {"source": f"aifa sites doctor, {host}", "checked_on": today}
        if _all_told(rows, path):
            table["status"] = "verified"
    return tables


def by_hand(rows: Sequence[Row], own: Collection[tuple[str, ...]]) -> tuple[Row, ...]:
    """The rows, in which what the user wrote by hand is left to the user.

    Args:
        rows: Of a comparison.
        own: Keys of the facts that stand in the user's own tables, which go over what is written for them.
    """
    note = "you wrote this in sites.toml yourself: change or remove it there"
    return tuple(
        replace(row, value=None, note="; ".join(filter(None, (note, row.note))))
        if row.path in own and row.status in {"drift", "new"}
        else row
        for row in rows
    )


def _all_told(rows: Sequence[Row], path: tuple[str, ...]) -> bool:
    statuses = {row.status for row in rows if row.path[:-1] == path}
    return bool(statuses & {"confirmed", "drift"}) and not statuses & {"not told", "unverifiable"}


def _scheduler(told: Told) -> Iterator[Row]:
    rules, config = told.site.scheduler, (told.section("config") or {}).get("slurm", {})
    why = told.why("config")
    yield row_of(("scheduler", "cluster_name"), rules.cluster_name, config.get("ClusterName"), note=why)
    version = (told.section("version") or {}).get("program", {}).get("version") or config.get("SLURM_VERSION")
    found = row_of(("scheduler", "version"), rules.version, version, note=told.why("version"))
    # Nothing here depends on the version alone, and sites upgrade without asking.
    yield replace(found, status="notice", value=None) if found.status in {"drift", "new"} else found
    yield row_of(("scheduler", "max_array_size"), rules.max_array_size, number_of(config.get("MaxArraySize")), note=why)
    partitions = told.section("partition")
    if partitions is not None:
        default = next((name for name, row in partitions.items() if row.get("Default") == "YES"), None)
        if default != rules.default_partition:
            value = default if default in told.site.partitions else None
            note = "" if value else "no override takes a default away, or names an unknown partition"
            shown = {"profile": show(rules.default_partition), "site": show(default)}
            yield Row(path=("scheduler", "default_partition"), **shown, status="drift", note=note, value=value)
        else:
            yield Row(
                path=("scheduler", "default_partition"), profile=show(default), site=show(default), status="confirmed"
            )


def _accounts(told: Told) -> Iterator[Row]:
    account, rows, path = told.site.access.account, told.section("association"), ("access", "account")
    if rows is None:
        yield Row(path=path, profile=show(account), site="-", status="not told", note=told.why("association"))
        return
    names = sorted({row["Account"] for row in rows.values()})
    shown = ", ".join(names) or "none"
    if account and account in names:
        yield Row(path=path, profile=account, site=shown, status="confirmed")
    elif account:
        note = "you have no association with this account: ask the project's leader, or change `account`"
        yield Row(path=path, profile=account, site=shown, status="drift", note=note)
    elif told.site.scheduler.account_required:
        note = "set `account`, or name one in every job"
        yield Row(path=path, profile="-", site=shown, status="notice", note=note)
    for row in told.associations[: account in names or not account]:
        wanted = told.site.scheduler.default_qos
        if wanted is not None:
            known = row["DefaultQOS"] in told.site.qos
            found = row_of(("scheduler", "default_qos"), wanted, row["DefaultQOS"] or None, note=f"QOS: {row['QOS']}")
            yield found if known else replace(found, value=None)
        for name, limit in (("MaxWall", "walltime"), ("MaxJobs", "running jobs"), ("MaxSubmit", "submitted jobs")):
            if row[name] not in NOTHING and not row["Partition"]:
                note = f"your association limits {limit}"
                yield Row(path=("association", name), profile="-", site=row[name], status="notice", note=note)


def _login(told: Told) -> Iterator[Row]:
    login = told.site.login
    version = (told.section("python") or {}).get("program", {}).get("version")
    found = row_of(("login", "python"), login.python, version, note=told.why("python"))
    if found.status == "drift" and version_of(version or "") > version_of(login.python):
        newer = version_of(version or "")[: len(version_of(login.python))] != version_of(login.python)
        found = replace(found, status="notice" if newer else "confirmed", note="newer does no harm", value=None)
    yield found if found.status != "new" else replace(found, status="notice", value=None)
    keys, path = told.section("hostkey"), ("login", "host_keys")
    published = {key.fingerprint for key in login.host_keys}
    seen = sorted(keys or ())
    if keys is None:
        shown = str(len(published))
        yield Row(path=path, profile=shown, site="-", status="not told", note=told.why("hostkey"))
    elif published & set(seen):
        yield Row(path=path, profile=f"{len(published)} published", site="one of them", status="confirmed")
    else:
        other = told.site.access.host not in {"", *login.hosts}
        note = f"seen: {' '.join(seen)}" + ("; another host than the profile's" if other else "")
        status: Verdict = "drift" if published and not other else "notice"
        shown = "others" if published else f"{len(seen)} seen"
        yield Row(path=path, profile=f"{len(published)} published", site=shown, status=status, note=note)


def _tools(told: Told) -> Iterator[Row]:
    found = told.section("tool") or {}
    for name in tools(told.site):
        path = ("tools", name)
        if name in found:
            yield Row(path=path, profile="there", site=found[name]["path"], status="confirmed")
        elif name == "sbatch":
            yield Row(path=path, profile="there", site="missing", status="drift", note="is this a login node?")
        else:
            note = "not on this login node; compute nodes were not asked"
            yield Row(path=path, profile="there", site="missing", status="notice", note=note)


def _places(told: Told) -> Iterator[Row]:
    found = told.section("path") or {}
    asked = places(told.site)
    for number, (path, text) in enumerate(asked):
        row = found.get(str(number))
        if row is None:
            yield Row(path=path, profile=text, site="-", status="not told", note=told.why("path"))
        elif row.get("there") and row.get("writable"):
            yield Row(path=path, profile=text, site="writable", status="confirmed")
        elif row.get("writable") and path[0] == "access":
            note = f"will be made below {row['nearest']}"
            yield Row(path=path, profile=text, site="not there yet", status="confirmed", note=note)
        else:
            state = "not writable" if row.get("there") else f"missing, only {row['nearest']} is there"
            yield Row(path=path, profile=text, site=state, status="drift", note="paths are yours to set")
    for path, text in _folders(told.site):
        if path not in dict(asked):
            note = "no account is configured, so the folder is not known"
            yield Row(path=path, profile=text, site="-", status="not told", note=note)


def _settled(rows: Sequence[Row], doubts: Iterable[tuple[str, Fact]]) -> Iterator[Row]:
    """The rows, each with the doubt it settles; and the doubts that no row touches."""
    open_ = {tuple(key.split(".")): fact for key, fact in doubts}
    for row in rows:
        fact = open_.get(row.path[:-1])
        if fact is not None and row.status in {"confirmed", "drift"}:
            yield replace(row, note="; ".join(filter(None, (row.note, _SETTLES.get(fact.status, "")))))
        else:
            yield row
    for path, fact in open_.items():
        if not any(row.path[: len(path)] == path for row in rows):
            yield Row(path=path, profile=fact.status, site="-", status="unverifiable", note=fact.note)
