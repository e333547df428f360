"""Finds sites: the packaged profiles, then the user's ``sites.toml`` over them.

``$AIFA_CONFIG_DIR/sites.toml`` (the platform's configuration folder by default)::

    [sites.lumi]                 # overrides the packaged profile of that name
    user = "ada"
    account = "project_465000001"

    [sites.test]                 # a new name on top of a profile
    extends = "jupiter"
    host = "127.0.0.1"
    port = 2222
"""

from __future__ import annotations

import difflib
import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from aifa_hpc.errors import InputError
from aifa_hpc.sites.model import Access, Site
from aifa_hpc.units import ByteSize, Memory, Walltime, parse_memory, parse_size, parse_walltime

_PARSERS = {Walltime: parse_walltime, Memory: parse_memory, ByteSize: parse_size}


def config_dir() -> Path:
    """The user's configuration folder, ``$AIFA_CONFIG_DIR`` first."""
    return Path(os.environ.get("AIFA_CONFIG_DIR") or platformdirs.user_config_dir("aifa"))


def state_dir() -> Path:
    """The user's state folder, ``$AIFA_STATE_DIR`` first; made with mode 0700 by whoever writes in it."""
    return Path(os.environ.get("AIFA_STATE_DIR") or platformdirs.user_state_dir("aifa"))


def load_sites(config: Path | None = None) -> dict[str, Site]:
    """All sites by name: packaged ones, overridden and extended by the user's file.

    Args:
        config: Configuration folder; the user's own by default.

    Raises:
        InputError: The user's file has an unknown key, a wrong type or an unknown ``extends``.
    """
    packaged = resources.files("aifa_hpc.sites") / "profiles"
    sites = {}
    for entry in sorted(packaged.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            site = read_profile(entry.read_text("utf-8"), entry.name)
            sites[site.name] = site
    path = (config or config_dir()) / "sites.toml"
    if path.is_file():
        sites.update(read_user_sites(path.read_text("utf-8"), str(path), sites))
    return sites


def load_site(name: str, config: Path | None = None) -> Site:
    """One site by name.

    Raises:
        InputError: No such site; the message lists the nearest and all names.
    """
    sites = load_sites(config)
    if name not in sites:
        raise _unknown_site(name, sites)
    return sites[name]


def read_profile(text: str, label: str) -> Site:
    """Decodes one profile, strictly.

    Raises:
        InputError: Not TOML, an unknown key, a wrong type; the message has the path to the key.
    """
    site = _convert(_toml(text, label), Site, label)
    _require_references(site, label)
    return site


def read_user_sites(text: str, label: str, base: dict[str, Site]) -> dict[str, Site]:
    """Decodes ``sites.toml`` over the given profiles.

    Raises:
        InputError: As :func:`load_sites`.
    """
    document = _toml(text, label)
    tables = document.pop("sites", {})
    if document:
        raise InputError(f"{label}: unknown key {next(iter(document))!r}; the file holds tables [sites.NAME]")
    found = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(f"{label}: sites.{name} must be a table, got {table!r}")
        settings = dict(table)
        parent = settings.pop("extends", name)
        if parent not in base:
            raise _unknown_site(parent, base, where=f"{label}: sites.{name}.extends")
        inherited = msgspec.to_builtins(base[parent].access)
        unknown = sorted(set(settings) - set(inherited))
        if unknown:
            nearest = difflib.get_close_matches(unknown[0], [*inherited, "extends"], 1, 0.0)[0]
            raise InputError(f"{label}: sites.{name} has no key {unknown[0]!r}; did you mean {nearest!r}?")
        access = _convert(inherited | settings, Access, f"{label}: sites.{name}")
        for key in ("ssh_config", "identity_file"):
            value = getattr(access, key)
            if value:
                access = msgspec.structs.replace(access, **{key: str(Path(value).expanduser())})
        found[name] = msgspec.structs.replace(base[parent], name=name, access=access)
    return found


def _toml(text: str, label: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error


def _convert(value: Any, kind: type[Any], label: str) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise InputError(f"{label}: {error}") from error


def _decode(kind: type[Any], value: Any) -> Any:
    return _PARSERS[kind](value)


def _require_references(site: Site, label: str) -> None:
    for name, partition in site.partitions.items():
        if partition.node not in site.nodes:
            raise InputError(f"{label}: partitions.{name}.node = {partition.node!r} is not in [nodes]")
        if partition.billing not in site.billing:
            raise InputError(f"{label}: partitions.{name}.billing = {partition.billing!r} is not in [billing]")


def _unknown_site(name: str, sites: dict[str, Site], where: str = "site") -> InputError:
    close = difflib.get_close_matches(name, sites, 1)
    nearest = f"; did you mean {close[0]!r}?" if close else "."
    return InputError(
        f"{where} {name!r} is not known{nearest} Known sites: {', '.join(sites)}.",
        hint="Add your own as [sites.NAME] in " + str(config_dir() / "sites.toml") + ".",
    )
