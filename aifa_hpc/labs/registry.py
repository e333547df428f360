"""Data labs and their data sets, as ``labs.toml`` in the configuration folder names them.

::

    [labs.birds]
    title = "Bird sounds of the North"
    contact = "data@lab.example"
    licence = "CC-BY-4.0"
    policy = "https://lab.example/policy"
    class = "open"

    [labs.birds.data.train]
    location = "iceberg:lab.birds.train"
    columns = ["sound", "label"]       # as --columns, --where and --mode of `aifa stage copy`
    keep = 3                           # versions that stay at each destination

A data set says again what differs from its lab: contact, licence, policy, class. The class has no default: somebody has
to state it, for the lab or for the data set.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from aifa_hpc.errors import InputError, Problem
from aifa_hpc.lakehouse.filters import read_filter
from aifa_hpc.lakehouse.names import is_table, read_wanted, want
from aifa_hpc.sites.load import config_dir, read_user_file
from aifa_hpc.sites.strict import decode, nearest, show, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "labs.toml"

Stated: TypeAlias = Literal["", "open", "internal", "sensitive"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_RULE = "a name is letters, digits, `.`, `_` and `-`, begins with a letter or digit and does not end in `.lab`"
_LAB_SUFFIX = ".lab"


class DataTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """``[labs.LAB.data.NAME]``; what is empty is the lab's.

    Attributes:
        location: What ``aifa stage copy`` takes as SRC: a folder, ``SITE:/path``, ``s3://``, or a table.
        title: For people.
        description: What it is, in a few sentences.
        licence: SPDX id or URL.
        policy: URL of the terms of use.
        contact: Mail address or URL.
        class_: Who may have it, see :mod:`aifa_hpc.privacy.gate`.
        columns: Of a table; all by default.
        where: Row filter of a table; whether the table has its columns is seen when it is synced.
        mode: As for ``aifa stage copy``; a sync is incremental anyway, so that this is ``files`` here.
        keep: Versions that stay at a destination, pinned ones not counted; 0 for all.
    """

    location: str
    title: str = ""
    description: str = ""
    licence: str = ""
    policy: str = ""
    contact: str = ""
    class_: Stated = ""
    columns: tuple[str, ...] = ()
    where: str = ""
    mode: Literal["", "files", "pushdown", "incremental"] = ""
    keep: int = 0


class LabTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """``[labs.LAB]``; see :class:`DataTable`.

    Attributes:
        title: For people.
        contact: Mail address or URL.
        licence: SPDX id or URL.
        policy: URL of the terms of use.
        class_: Class of data sets that state none.
        data: Data sets by name.
    """

    title: str = ""
    contact: str = ""
    licence: str = ""
    policy: str = ""
    class_: Stated = ""
    data: dict[str, DataTable] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabData:
    """A data set of a lab, with what its lab says of all of them.

    Attributes:
        lab: The lab's name.
        name: Its own.
        source: Its location with what of it is wanted, as one text for the engine.
        data_class: ``open``, ``internal`` or ``sensitive``.
        publisher: The lab's title, or its name.
        title: For people; its name by default.
        description: For people; the title by default.
        licence: SPDX id or URL; may be empty.
        policy: URL of the terms of use; may be empty.
        contact: Mail address or URL; may be empty.
        keep: Versions that stay at a destination; 0 for all.
    """

    lab: str
    name: str
    source: str
    data_class: str
    publisher: str
    title: str
    description: str
    licence: str = ""
    policy: str = ""
    contact: str = ""
    keep: int = 0

    def __str__(self) -> str:
        return f"{self.lab}/{self.name}"


Labs: TypeAlias = "dict[str, dict[str, LabData]]"


def load_labs(config: Path | None = None) -> Labs:
    """All labs by name, each with its data sets by name.

    Args:
        config: Configuration folder; the user's own by default.

    Raises:
        InputError: The file is wrong; every problem is listed with its key and the nearest legal value.
    """
    text, label = read_user_file(FILE, config)
    return read_labs(text, label)


def read_labs(text: str, label: str = FILE) -> Labs:
    """Decodes ``labs.toml``; errors as :func:`load_labs`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{label} is not valid TOML: {error}") from error
    tables = document.pop("labs", {})
    problems = [unknown_key(key, value, ["labs"]) for key, value in document.items()]
    if not isinstance(tables, dict):
        problems.append(Problem(key="labs", value=show(tables), rule="must be tables [labs.LAB]"))
        tables = {}
    found: Labs = {}
    for name, table in tables.items():
        try:
            lab = decode(table, LabTable, label, key=f"labs.{name}")
        except InputError as error:
            problems += error.problems
            continue
        wrong = list(_problems(name, lab))
        problems += wrong
        if not wrong:
            found[name] = {key: _data(name, lab, key, one) for key, one in lab.data.items()}
    if problems:
        raise InputError(f"{label} cannot be used:", problems=problems)
    return found


def choose(labs: Labs, text: str) -> list[LabData]:
    """The data sets that ``LAB`` or ``LAB/DATASET`` means.

    Raises:
        InputError: There is none of that name; the message has the nearest.
    """
    lab, slash, name = text.partition("/")
    if lab not in labs:
        raise _unknown("lab", lab, labs)
    if not slash:
        return list(labs[lab].values())
    if name not in labs[lab]:
        raise _unknown(f"data set of {lab}", name, labs[lab])
    return [labs[lab][name]]


def add_data(text: str, lab: str, name: str, keys: Mapping[str, Any], *, label: str = FILE) -> str:
    """The registry with one more data set; every letter that was there stays.

    Args:
        text: The registry.
        lab: The lab; made when it is not there.
        name: The data set.
        keys: Of :class:`DataTable`, as TOML has them.
        label: The registry's file, for messages.

    Raises:
        InputError: The data set is there already, or would be wrong.
    """
    labs = read_labs(text, label)
    if name in labs.get(lab, {}):
        raise InputError(f"{lab}/{name} is in {label} already.", hint="Change it there, or choose another name.")
    lines = [f"[labs.{_toml(lab)}.data.{_toml(name)}]"]
    for key, value in keys.items():
        shown = f"[{', '.join(map(_toml_text, value))}]" if isinstance(value, (list, tuple)) else _toml_value(value)
        lines.append(f"{key} = {shown}")
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    made = before + "\n".join(lines) + "\n"
    read_labs(made, label)
    return made


def save_data(lab: str, name: str, keys: Mapping[str, Any], config: Path | None = None) -> Path:
    """Adds a data set to the user's file; errors as :func:`add_data`."""
    text, label = read_user_file(FILE, config)
    made = add_data(text, lab, name, keys, label=label)
    path = (config or config_dir()) / FILE
    aside = path.with_name(f".{FILE}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(made, "utf-8")
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def _problems(name: str, lab: LabTable) -> Iterator[Problem]:
    if not _is_name(name):
        yield Problem(key=f"labs.{name}", value="", rule=_RULE)
    for key, data in lab.data.items():
        place = f"labs.{name}.data.{key}"
        if not _is_name(key):
            yield Problem(key=place, value="", rule=_RULE)
        if not data.class_ and not lab.class_:
            rule = f"is missing, for the data set and for [labs.{name}]: open, internal or sensitive"
            yield Problem(key=f"{place}.class", value="", rule=rule)
        if data.keep < 0:
            yield Problem(key=f"{place}.keep", value=str(data.keep), rule="must be 0 (all) or more", nearest="0")
        try:
            _source(data)
        except InputError as error:
            yield Problem(key=f"{place}.location", value=show(data.location), rule=error.message.rstrip("."))
        if data.where:
            try:
                read_filter(data.where)
            except InputError as error:
                yield Problem(key=f"{place}.where", value=show(data.where), rule=error.message.rstrip("."))


def _is_name(text: str) -> bool:
    # NAME.lab is the folder beside the copy of NAME.
    return _NAME.fullmatch(text) is not None and not text.endswith(_LAB_SUFFIX)


def _source(data: DataTable) -> str:
    if not data.location:
        raise InputError("must say where the data is.")
    made = want(data.location, columns=data.columns, where=data.where, mode=data.mode or None)
    if is_table(made):
        read_wanted(made)
    return made


def _data(lab_name: str, lab: LabTable, name: str, data: DataTable) -> LabData:
    title = data.title or name
    return LabData(
        lab=lab_name,
        name=name,
        source=_source(data),
        data_class=data.class_ or lab.class_,
        publisher=lab.title or lab_name,
        title=title,
        description=data.description or title,
        licence=data.licence or lab.licence,
        policy=data.policy or lab.policy,
        contact=data.contact or lab.contact,
        keep=data.keep,
    )


def _unknown(what: str, name: str, known: Mapping[str, object]) -> InputError:
    close = nearest(name, known, least=0.6)
    meant = f"; did you mean {close!r}?" if close else "."
    names = f" There are {', '.join(known)}." if known else ""
    return InputError(
        f"there is no {what} called {name!r}{meant}{names}", hint="`aifa lab add LAB/DATASET LOCATION` makes one."
    )


def _toml(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml_text(name)


def _toml_text(text: str) -> str:
    # JSON's escapes are TOML's, but for the one control character that JSON writes as it is.
    return show(text).replace("\x7f", "\\u007f")


def _toml_value(value: object) -> str:
    return _toml_text(value) if isinstance(value, str) else show(value)
