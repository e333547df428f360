"""Where data is, as people write it: ``SITE:/absolute/path``, ``s3://bucket/prefix``, a URL, or a local path.

Any other URL (``https://``, ``gs://``, ``hf://``) is read by fsspec and can only be a source.

``./a:b`` is a local file with a colon in its name. What comes before a colon and holds no ``/`` is meant as a site.

**Files and folders** are told apart as ``cp`` does. If SRC is a file, DST is the file to be, unless it exists as a
folder or ends with ``/``: then the file goes into it under its own name. If SRC is a folder, what is in it goes below
DST.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aifa_hpc.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A place for data; ``str()`` gives the text it was read from.

    Attributes:
        kind: ``local``, ``site``, ``s3`` or ``url``.
        site: The site's name, for kind ``site``.
        path: Local path, absolute path on the site, ``bucket/prefix`` or the URL; a final ``/`` says it is a folder.
    """

    kind: Literal["local", "site", "s3", "url"]
    site: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "site":
            return f"{self.site}:{self.path}"
        return f"s3://{self.path}" if self.kind == "s3" else self.path

    @property
    def bucket(self) -> str:
        """The bucket of an ``s3`` location."""
        return self.path.partition("/")[0]

    @property
    def prefix(self) -> str:
        """The key, or what keys begin with, of an ``s3`` location."""
        return self.path.partition("/")[2]


def parse_location(text: str, site_names: Collection[str]) -> Location:
    """Reads a location.

    Args:
        text: As the user wrote it.
        site_names: Sites that exist.

    Raises:
        InputError: An empty text, an unknown site, a path on a site that is not absolute, or a bad bucket name.
    """
    if not text or "\0" in text:
        raise InputError(f"{text!r} is not a location.", hint="Write a path, SITE:/path or s3://bucket/prefix.")
    scheme = _SCHEME.match(text)
    if scheme:
        is_object = scheme[1] == "s3"
        return _object(text, text[scheme.end() :]) if is_object else Location(kind="url", path=text)
    name, colon, path = text.partition(":")
    if not colon or "/" in name or not name:
        return Location(kind="local", path=text)
    if name not in site_names:
        near = difflib.get_close_matches(name, site_names, 1)
        known = f"Did you mean {near[0]}:{path}?" if near else f"Sites are {', '.join(sorted(site_names))}."
        raise InputError(f"{text!r}: there is no site {name!r}.", hint=f"{known} A local file is written './{text}'.")
    if not path.startswith("/"):
        raise InputError(
            f"{text!r}: a path on a site is absolute.",
            hint=f"Write {name}:/{path.removeprefix('~/')} with the full path; `~` is not expanded there.",
        )
    if ".." in path.split("/"):
        raise InputError(f"{text!r}: a path on a site is written without '..'.")
    return Location(kind="site", site=name, path=path)


def _object(text: str, rest: str) -> Location:
    bucket = rest.partition("/")[0]
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{text!r}: {bucket!r} is not a bucket's name.", hint="Write s3://bucket/prefix.")
    return Location(kind="s3", path=rest)
