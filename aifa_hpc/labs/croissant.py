"""A version of a data set as Croissant 1.0: JSON-LD that data hubs and loaders read.

Source of the format: the Croissant format specification of MLCommons, version 1.0. The manifest is described as a file
with its SHA-256, and the data as a set of files in it: the manifest has the hash of every one of them, so they need not
be listed here again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifa_hpc.labs.registry import LabData
    from aifa_hpc.labs.versions import Version

_TERMS = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet", "format",
    "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex",
    "repeated", "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
} | {term: f"cr:{term}" for term in _TERMS}
"""The format's own: readers compare it."""


def croissant(data: LabData, version: Version, *, digest: str) -> bytes:
    """The description of a version, for the folder beside the data.

    Args:
        data: What the lab says of the data set.
        version: The present one.
        digest: SHA-256 of its manifest file, hexadecimal.
    """
    record: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{data.lab}-{data.name}",
        "alternateName": data.title,
        "description": data.description,
        "identifier": version.tree,
        "version": f"0.0.0+{version.name}",  # a semantic version, which the format asks for; only the build differs
        "datePublished": version.published,
        "creator": {"@type": "sc:Organization", "name": data.publisher} | _some("email", _mail(data.contact)),
        "citeAs": f"{data.publisher}: {data.title}, version {version.name}, {version.published[:10]}.",
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "manifest",
                "name": "manifest",
                "description": "Path, size and SHA-256 of every file, as lines of JSON.",
                "contentUrl": f"../{data.name}/{version.manifest}",
                "encodingFormat": "application/jsonlines",
                "sha256": digest,
            },
            {
                "@type": "cr:FileSet",
                "@id": "files",
                "name": "files",
                "description": f"{version.files} files, {version.bytes} bytes.",
                "containedIn": {"@id": "manifest"},
                "encodingFormat": "application/vnd.apache.parquet",
                "includes": "**/*.parquet",
            },
        ],
    }
    record |= _some("license", data.licence) | _some("usageInfo", data.policy) | _some("url", _page(data))
    return f"{json.dumps(record, indent=1)}\n".encode("ascii")


def _some(key: str, value: str) -> dict[str, str]:
    return {key: value} if value else {}


def _mail(contact: str) -> str:
    return contact.removeprefix("mailto:") if "@" in contact else ""


def _page(data: LabData) -> str:
    return next((text for text in (data.contact, data.policy) if text.startswith(("http://", "https://"))), "")
