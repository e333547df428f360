"""Reads which sinks the user wants: ``events.toml`` in the configuration folder.

::

    [sinks.journal]
    kind = "jsonl"
    path = "~/aifa-events.jsonl"

    [sinks.ops]
    kind = "webhook"
    url = "https://hooks.example.org/aifa"     # or url_file, url_env where the address is a secret
    token_file = "~/.config/aifa/ops.token"    # or token_env; sent as Authorization: Bearer
    since = 2026-11-24T00:00:00Z               # earlier events are passed over

    [sinks.metrics]
    kind = "prometheus"
    path = "/var/lib/node_exporter/aifa.prom"

    [sinks.runs]
    kind = "mlflow"
    uri = "https://mlflow.example.org"

A sink that is renamed is a new one, and is told of everything.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.jobs.secrets import MASK, looks_secret
from aifa_hpc.sites.load import read_user_file
from aifa_hpc.sites.strict import decode, nearest, show, unknown_key
from aifa_hpc.tracker.sinks.jsonlines import JsonLines
from aifa_hpc.tracker.sinks.mlflow import Mlflow
from aifa_hpc.tracker.sinks.prometheus import Prometheus
from aifa_hpc.tracker.sinks.webhook import Secret, Webhook, wrong_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.tracker.sinks.base import Sink

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_Moment = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    def problems(self) -> Iterator[tuple[str, str, str]]:
        """Key, value and rule of what is wrong with it."""
        yield from ()

    def sink(self, name: str) -> Sink:
        """The sink that it describes; each kind of table has its own."""
        # Not abstract: the metaclass of msgspec's structs is not that of ABC. Only the kinds below are ever made.
        raise NotImplementedError


class _JsonLines(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    path: str
    since: _Moment | None = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        yield from _path_problems("path", self.path)

    def sink(self, name: str) -> Sink:
        return JsonLines(name, _path(self.path), since=self.since)


class _Prometheus(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    path: str

    def problems(self) -> Iterator[tuple[str, str, str]]:
        yield from _path_problems("path", self.path)
        if not self.path.endswith(".prom"):
            yield "path", show(self.path), "must end in .prom, or the node exporter does not read it"

    def sink(self, name: str) -> Sink:
        return Prometheus(name, _path(self.path))


class _Webhook(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: str = ""
    url_file: str = ""
    url_env: str = ""
    token_file: str = ""
    token_env: str = ""
    since: _Moment | None = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        for key, value in (("url_file", self.url_file), ("token_file", self.token_file)):
            if value:
                yield from _path_problems(key, value)
        if sum(map(bool, (self.url, self.url_file, self.url_env))) != 1:
            yield "url", "", "one of url, url_file and url_env must say where to"
        if self.token_file and self.token_env:
            yield "token_env", show(self.token_env), "goes not together with token_file"
        if why := looks_secret(self.url):
            rule = f"holds what looks like {why}; put the address into a file of mode 0600 and name that as url_file"
            yield "url", MASK, rule
        elif self.url and (why := wrong_address(self.url, secret=bool(self.token_file or self.token_env))):
            yield "url", show(self.url), why

    def sink(self, name: str) -> Sink:
        url = self.url or _secret(self.url_file, self.url_env)
        token = _secret(self.token_file, self.token_env) if self.token_file or self.token_env else None
        return Webhook(name, url, token=token, since=self.since)


class _Mlflow(_Table, frozen=True, forbid_unknown_fields=True, kw_only=True):
    uri: str = ""
    experiment: str = "aifa"
    since: _Moment | None = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        if why := looks_secret(self.uri):
            yield "uri", MASK, f"holds what looks like {why}; MLflow reads MLFLOW_TRACKING_TOKEN from the environment"

    def sink(self, name: str) -> Sink:
        return Mlflow(name, uri=self.uri, experiment=self.experiment, since=self.since)


KINDS: dict[str, type[_Table]] = {
    "jsonl": _JsonLines,
    "webhook": _Webhook,
    "prometheus": _Prometheus,
    "mlflow": _Mlflow,
}
"""How ``kind`` names each."""


def load_sinks(config: Path | None = None) -> list[Sink]:
    """The user's sinks; none without a file.

    Args:
        config: Configuration folder; the user's own by default.

    Raises:
        InputError: The file is wrong; every problem is listed.
    """
    return read_sinks(*read_user_file("events.toml", config))


def read_sinks(text: str, label: str) -> list[Sink]:
    """Decodes ``events.toml``.

    Args:
        text: TOML.
        label: Its file, for messages.

    Raises:
        InputError: Not TOML, an unknown key or kind, a wrong type, or a secret in it; every problem is listed.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error
    tables = document.pop("sinks", {})
    problems = [unknown_key(key, value, ["sinks"]) for key, value in document.items()]
    if not isinstance(tables, dict):
        problems.append(Problem(key="sinks", value=show(tables), rule="must be tables [sinks.NAME]"))
        tables = {}
    found = []
    for name, table in tables.items():
        wrong = list(_name_problems(name, table))
        if not wrong:
            try:
                decoded = decode(
                    {key: value for key, value in table.items() if key != "kind"},
                    KINDS[table["kind"]],
                    label,
                    key=f"sinks.{name}",
                )
            except InputError as error:
                wrong = list(error.problems)
            else:
                wrong = [
                    Problem(key=f"sinks.{name}.{key}", value=value, rule=rule)
                    for key, value, rule in decoded.problems()
                ]
                found.append((name, decoded))
        problems += wrong
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return [table.sink(name) for name, table in found]


def _name_problems(name: str, table: Any) -> Iterator[Problem]:
    key = f"sinks.{name}"
    if _NAME.fullmatch(name) is None:
        yield Problem(key=key, value="", rule="a sink's name is letters, digits, `.`, `_` and `-`")
    if not isinstance(table, dict):
        yield Problem(key=key, value=show(table), rule="must be a table")
    elif table.get("kind") not in KINDS:
        kind, rule = table.get("kind", ""), f"must be one of {', '.join(KINDS)}"
        yield Problem(key=f"{key}.kind", value=show(kind), rule=rule, nearest=nearest(str(kind), KINDS))


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _path_problems(key: str, text: str) -> Iterator[tuple[str, str, str]]:
    if not text.startswith(("/", "~/")):
        yield key, show(text), "must be an absolute path, or begin with ~/"


def _secret(file: str, env: str) -> Secret:
    return Secret(file=_path(file) if file else None, env=env)
