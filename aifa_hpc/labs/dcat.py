"""A version of a data set as DCAT-AP 3: JSON-LD that European data catalogues harvest.

Source of the terms: DCAT-AP 3.0 of SEMIC, on W3C's DCAT 3; access rights are those of the EU's authority table.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifa_hpc.labs.registry import LabData
    from aifa_hpc.labs.versions import Version

_CONTEXT = {
    "adms": "http://www.w3.org/ns/adms#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "spdx": "http://spdx.org/rdf/terms#",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_RIGHTS = "http://publications.europa.eu/resource/authority/access-right/"
_ACCESS = {"open": "PUBLIC", "internal": "RESTRICTED", "sensitive": "NON_PUBLIC"}
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)


def dcat(data: LabData, version: Version, *, url: str, digest: str) -> bytes:
    """The description of a version, for the folder beside the data.

    Args:
        data: What the lab says of the data set.
        version: The present one.
        url: Of the folder that it is in.
        digest: SHA-256 of its manifest file, hexadecimal.
    """
    dataset: dict[str, Any] = {
        "@id": f"{url}#dataset",
        "@type": "dcat:Dataset",
        "dct:title": _words(data.title),
        "dct:description": _words(data.description),
        "dct:identifier": version.tree,
        "dcat:version": version.name,
        "dct:modified": _time(version.published),
        "dct:publisher": {"@id": f"{url}#publisher", "@type": "foaf:Agent", "foaf:name": _words(data.publisher)},
        "dct:accessRights": {
            "@id": f"{_RIGHTS}{_ACCESS[data.data_class]}",
            "@type": "dct:RightsStatement",
        },
        "dcat:distribution": _distribution(data, version, url, digest),
    }
    if data.contact:
        key, value = _contact(data.contact)
        dataset["dcat:contactPoint"] = {"@id": f"{url}#contact", "@type": "vcard:Kind", key: {"@id": value}}
    return f"{json.dumps({'@context': _CONTEXT} | dataset, indent=1)}\n".encode("ascii")


def _distribution(data: LabData, version: Version, url: str, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "@id": f"{url}#{version.name}",
        "@type": "dcat:Distribution",
        "dct:title": _words(f"{data.title}, version {version.name}"),
        "dcat:accessURL": {"@id": url, "@type": "http://www.w3.org/2000/01/rdf-schema#Resource"},
        "dcat:byteSize": {"@value": str(version.bytes), "@type": "xsd:nonNegativeInteger"},
        "dct:issued": _time(version.published),
        "spdx:checksum": {
            "@id": f"{url}#checksum",
            "@type": "spdx:Checksum",
            "spdx:algorithm": {"@id": "spdx:checksumAlgorithm_sha256"},
            "spdx:checksumValue": {"@value": digest, "@type": "xsd:hexBinary"},
        },
    }
    licence = _licence(data.licence)
    if licence:
        found["dct:license"] = {"@id": licence, "@type": "dct:LicenseDocument"}
    if data.policy.startswith(("http://", "https://")):
        found["dct:rights"] = {"@id": data.policy, "@type": "dct:RightsStatement"}
    return found


def _words(text: str) -> dict[str, str]:
    return {"@value": text, "@language": "en"}


def _time(text: str) -> dict[str, str]:
    return {"@value": text, "@type": "xsd:dateTime"}


def _contact(text: str) -> tuple[str, str]:
    if text.startswith(("http://", "https://")):
        return "vcard:hasURL", text
    return "vcard:hasEmail", text if text.startswith("mailto:") else f"mailto:{text}"


def _licence(text: str) -> str:
    if text.startswith(("http://", "https://")):
        return text
    return f"https://spdx.org/licenses/{text}" if _SPDX.fullmatch(text) else ""
