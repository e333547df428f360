"""Finds sites: the packaged profiles, then the user's ``sites.toml`` over them.

``$AIFA_CONFIG_DIR/sites.toml`` (the platform's configuration folder by default)::

    [sites.lumi]                 # overrides the packaged profile of that name
    user = "ada"
    account = "project_465000001"

    [sites.test]                 # a new name on top of a profile
    extends = "jupiter"
    host = "127.0.0.1"
    port = 2222

Its keys are ``extends``, the name of a packaged profile, and those of :class:`aifa_hpc.sites.model.Access`; its tables
are the profile's own and override facts of it, see ``sites.overrides``. ``[told.NAME.TABLE]`` holds what the site
itself told (``sites.settle``): it goes over the profile, and the tables of ``[sites.NAME]`` over it. A profile is
decoded when it is asked for, so one site costs one file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.sites.model import KINDS, Access, Fact, LaunchShape, Site
from aifa_hpc.sites.overrides import TABLES, override, own_keys
from aifa_hpc.sites.strict import decode, nearest, show, unknown_key

_PROFILES = Path(__file__).parent / "profiles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_TOLD = "told"
_LIKE = 0.6  # difflib's own measure of "close"; a name of one's own is no slip of a profile's
_HOLES = re.compile(r"\{(?!account\}|user\})[^}]*\}?")


def config_dir() -> Path:
    """The user's configuration folder, ``$AIFA_CONFIG_DIR`` first."""
    if found := os.environ.get("AIFA_CONFIG_DIR"):
        return Path(found)
    import platformdirs  # noqa: PLC0415 - not needed where the variable is set

    return Path(platformdirs.user_config_dir("aifa"))


def state_dir() -> Path:
    """The user's state folder, ``$AIFA_STATE_DIR`` first; made with mode 0700 by whoever writes in it."""
    if found := os.environ.get("AIFA_STATE_DIR"):
        return Path(found)
    import platformdirs  # noqa: PLC0415 - not needed where the variable is set

    return Path(platformdirs.user_state_dir("aifa"))


def profile_names() -> tuple[str, ...]:
    """Names of the packaged profiles, none of them decoded."""
    return tuple(sorted(path.stem for path in _PROFILES.glob("*.toml")))


class Profiles(Mapping[str, Site]):
    """The packaged profiles by name, each decoded on first use."""

    def __init__(self) -> None:
        self._names = profile_names()
        self._decoded: dict[str, Site] = {}

    def __getitem__(self, name: str) -> Site:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._decoded:
            path = _PROFILES / f"{name}.toml"
            self._decoded[name] = read_profile(path.read_text("utf-8"), path.name)
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_sites(config: Path | None = None) -> dict[str, Site]:
    """All sites by name: packaged ones, overridden and extended by the user's file.

    Args:
        config: Configuration folder; the user's own by default.

    Raises:
        InputError: The user's file has an unknown key, a wrong type or an unknown ``extends``.
    """
    profiles = Profiles()
    text, label = read_user_file("sites.toml", config)
    return dict(profiles) | read_user_sites(text, label, profiles)


def site_names(config: Path | None = None) -> tuple[str, ...]:
    """Names of all sites, packaged ones first, none of them decoded.

    Args:
        config: Configuration folder; the user's own by default.

    Raises:
        InputError: The user's file is wrong.
    """
    profiles = Profiles()
    text, label = read_user_file("sites.toml", config)
    return tuple(dict.fromkeys([*profiles, *_read_overlays(text, label, profiles)]))


def load_site(name: str, config: Path | None = None) -> Site:
    """One site by name; other profiles are not decoded, but the user's file must be right as a whole.

    Raises:
        InputError: No such site (the message lists the nearest and all names), or the user's file is wrong.
    """
    profiles = Profiles()
    text, label = read_user_file("sites.toml", config)
    overlays = _read_overlays(text, label, profiles)
    if name in overlays:
        return _overlaid(name, overlays[name], profiles, label)
    if name not in profiles:
        names = list(dict.fromkeys([*profiles, *overlays]))
        close = nearest(name, names, least=_LIKE)
        meant = f"; did you mean {close!r}?" if close else "."
        raise InputError(
            f"site {name!r} is not known{meant} Known sites: {', '.join(names)}.",
            hint=f"Add your own as [sites.NAME] in {label}.",
        )
    return profiles[name]


def own_facts(name: str, config: Path | None = None) -> frozenset[tuple[str, ...]]:
    """Keys of the facts of a site that the user wrote by hand; errors as :func:`load_site`."""
    text, label = read_user_file("sites.toml", config)
    return own_keys(_tables(_read_overlays(text, label, Profiles()).get(name, {})))


def read_user_file(name: str, config: Path | None = None) -> tuple[str, str]:
    """The text of a file of the user's, empty without one, and its path for messages.

    Args:
        name: In the configuration folder.
        config: That folder; the user's own by default.

    Raises:
        InputError: It cannot be read.
    """
    path = (config or config_dir()) / name
    try:
        return path.read_text("utf-8-sig"), str(path)  # some editors begin UTF-8 with a mark
    except FileNotFoundError:
        return "", str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path} cannot be read: {reason}.") from error


def read_profile(text: str, label: str) -> Site:
    """Decodes one profile, strictly.

    Args:
        text: TOML.
        label: Its file, for messages.

    Raises:
        InputError: Not TOML, an unknown key, a wrong type, a name that refers to nothing; each with its full key.
    """
    site = decode(_toml(text, label), Site, label)
    problems = tuple(_dangling(site))
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return site


def read_user_sites(text: str, label: str, base: Mapping[str, Site]) -> dict[str, Site]:
    """Decodes ``sites.toml`` over the given profiles.

    Args:
        text: TOML.
        label: Its file, for messages.
        base: Profiles by name.

    Raises:
        InputError: Not TOML, an unknown key, a wrong type or an unknown ``extends``; every problem is listed.
    """
    overlays = _read_overlays(text, label, base)
    return {name: _overlaid(name, table, base, label) for name, table in overlays.items()}


def facts(site: Site) -> list[tuple[str, Fact]]:
    """Every fact of a site with its dotted key, in the order of the profile's fields."""
    return list(_facts(site, ""))


def _toml(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error


def _read_overlays(text: str, label: str, base: Mapping[str, Site]) -> dict[str, dict[str, Any]]:
    """The tables of ``sites.toml``, all checked, none applied; each has its ``extends``."""
    document = _toml(text, label)
    tables, told = document.pop("sites", {}), document.pop(_TOLD, {})
    problems = [unknown_key(key, value, ["sites", _TOLD]) for key, value in document.items()]
    found = {}
    if not isinstance(tables, dict):
        problems.append(Problem(key="sites", value=show(tables), rule="must be tables [sites.NAME]"))
        tables = {}
    if not isinstance(told, dict) or not all(isinstance(table, dict) for table in told.values()):
        problems.append(Problem(key=_TOLD, value=show(told), rule=f"must be tables [{_TOLD}.NAME.TABLE]"))
        told = {}
    for name, table in ({name: {} for name in told} | tables).items():
        key = f"sites.{name}"
        if _NAME.fullmatch(name) is None:
            problems.append(Problem(key=key, value="", rule="a site's name is letters, digits, `.`, `_` and `-`"))
        if not isinstance(table, dict):
            problems.append(Problem(key=key, value=show(table), rule="must be a table"))
            continue
        settings = {"extends": name} | table
        problems += _overlay_problems(key, table, settings, base, told.get(name, {}))
        found[name] = settings | {_TOLD: told.get(name, {})}
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return found


def _overlay_problems(
    key: str, table: dict[str, Any], settings: dict[str, Any], base: Mapping[str, Site], told: dict[str, Any]
) -> Iterator[Problem]:
    fields = Access.__struct_fields__
    parent = settings["extends"]
    if "extends" not in table and parent not in base:
        rule = f"is missing: no packaged profile is called {parent!r}, so say which one it is like ({', '.join(base)})"
        yield Problem(key=f"{key}.extends", value="", rule=rule, nearest=nearest(parent, base, least=_LIKE))
    elif not isinstance(parent, str) or parent not in base:
        rule = f"must be a packaged profile: {', '.join(base)}"
        yield Problem(key=f"{key}.extends", value=show(parent), rule=rule, nearest=nearest(str(parent), base))
    yield from (
        unknown_key(f"{key}.{name}", value, [*fields, "extends", *TABLES])
        for name, value in table.items()
        if name not in fields and name not in {"extends", *TABLES}
    )
    other = _TOLD + key.removeprefix("sites")
    yield from (unknown_key(f"{other}.{name}", value, TABLES) for name, value in told.items() if name not in TABLES)
    if isinstance(parent, str) and parent in base:
        problems = list(_override_problems(other, _tables(told), base[parent]))
        yield from problems or _override_problems(key, _tables(table), _with_told(told, base[parent], other))
    known = {name: value for name, value in table.items() if name in fields}
    try:
        access = decode(known, Access, key, key=key)
    except InputError as error:
        yield from error.problems
        return
    if access.workdir and not access.workdir.startswith("/"):
        yield Problem(key=f"{key}.workdir", value=show(access.workdir), rule="must be an absolute path on the site")
    if hole := _HOLES.search(access.workdir):
        rule = f"may hold {{account}} and {{user}}, but not {hole[0]}"
        yield Problem(key=f"{key}.workdir", value=show(access.workdir), rule=rule)
    if isinstance(parent, str) and parent in base:
        yield from _budget_problems(key, access, base[parent])


def _budget_problems(key: str, access: Access, parent: Site) -> Iterator[Problem]:
    """Units in a budget that no job of the site is billed in."""
    units = sorted({rule.unit for rule in parent.billing.values()})
    for account, amounts in access.budget.items():
        for unit in amounts.keys() - set(units):
            rule = f"{parent.name} bills in {' and '.join(units) or 'no unit that this profile knows'}"
            yield Problem(
                key=f"{key}.budget.{account}.{unit}",
                value=f"{amounts[unit]:g}",
                rule=rule,
                nearest=nearest(unit, units) or next(iter(units), ""),
            )


def _tables(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name in TABLES}


def _with_told(told: dict[str, Any], parent: Site, label: str) -> Site:
    """A profile with what its site told of itself, which was checked before."""
    return override(parent, _tables(told), label, key=_TOLD)


def _override_problems(key: str, tables: dict[str, Any], parent: Site) -> Iterator[Problem]:
    try:
        site = override(parent, tables, key, key=key)
    except InputError as error:
        yield from error.problems
        return
    for problem in _dangling(site) if tables else ():
        yield replace(problem, key=f"{key}.{problem.key}")


def _overlaid(name: str, settings: dict[str, Any], base: Mapping[str, Site], label: str) -> Site:
    parent = _with_told(settings[_TOLD], base[settings["extends"]], label)
    parent = override(parent, _tables(settings), label, key=f"sites.{name}")
    changes = {key: value for key, value in settings.items() if key not in {"extends", _TOLD, *TABLES}}
    for key in ("ssh_config", "identity_file"):
        if changes.get(key):
            changes[key] = str(Path(changes[key]).expanduser())
    access = decode(msgspec.to_builtins(parent.access) | changes, Access, label, key=f"sites.{name}")
    return msgspec.structs.replace(parent, name=name, access=access)


def _facts(value: object, key: str) -> Iterator[tuple[str, Fact]]:
    if isinstance(value, Fact):
        yield key, value
    if isinstance(value, msgspec.Struct):
        items: Iterable[tuple[str, object]] = ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        items = value.items()
    else:
        return
    for name, item in items:
        yield from _facts(item, f"{key}.{name}" if key else name)


def _dangling(site: Site) -> Iterator[Problem]:
    """Names in a profile that refer to nothing in it."""
    uses: list[tuple[str, str, Mapping[str, object]]] = []
    for name, partition in site.partitions.items():
        uses += [(f"partitions.{name}.node", partition.node, site.nodes)]
        uses += [(f"partitions.{name}.more_nodes", node, site.nodes) for node in partition.more_nodes]
        uses += [(f"partitions.{name}.billing", partition.billing, site.billing)]
    for name, qos in site.qos.items():
        if qos.partition:
            uses += [(f"qos.{name}.partition", qos.partition, site.partitions)]
    for name, reservation in site.reservations.items():
        uses += [(f"reservations.{name}.partition", reservation.partition, site.partitions)]
    if site.scheduler.default_partition is not None:
        uses += [("scheduler.default_partition", site.scheduler.default_partition, site.partitions)]
    if site.scheduler.default_qos is not None:
        uses += [("scheduler.default_qos", site.scheduler.default_qos, site.qos)]
    kinds: Mapping[str, LaunchShape | None] = dict.fromkeys(KINDS)
    uses += [(f"launch.{name}", name, kinds) for name in site.launch]
    for key, used, choices in uses:
        if used not in choices:
            rule = f"must be one of {', '.join(choices) or 'none that this profile describes'}"
            yield Problem(key=key, value=show(used), rule=rule, nearest=nearest(used, choices))
