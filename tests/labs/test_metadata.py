"""What is published of a data set, read by the programs that others read it with."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import mlcroissant
import pyshacl
import pytest
import rdflib
from rdflib.namespace import DCAT, DCTERMS, FOAF, RDF

from aifa_hpc.labs.croissant import croissant
from aifa_hpc.labs.dcat import dcat
from aifa_hpc.labs.registry import LabData
from aifa_hpc.labs.versions import Version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.labs.conftest import Place

# rdflib and pyshacl say goodbye to classes and names that they use themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyshacl"),
]

SPDX = rdflib.Namespace("http://spdx.org/rdf/terms#")
VCARD = rdflib.Namespace("http://www.w3.org/2006/vcard/ns#")
RIGHTS = "http://publications.europa.eu/resource/authority/access-right/"
VERSION = Version(
    name="0123456789ab", published="2026-11-24T08:00:00+00:00", tree="sha256:0", files=1, bytes=5, source="s"
)
# What DCAT-AP 3 says of these classes: how often a property may be there, and what it is.
SHAPES = """
@prefix sh: <http://www.w3.org/ns/shacl#> .
@prefix dcat: <http://www.w3.org/ns/dcat#> .
@prefix dct: <http://purl.org/dc/terms/> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix spdx: <http://spdx.org/rdf/terms#> .
@prefix vcard: <http://www.w3.org/2006/vcard/ns#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .

[] a sh:NodeShape ; sh:targetClass dcat:Dataset ;
  sh:property [ sh:path dct:title ; sh:minCount 1 ; sh:datatype rdf:langString ] ,
    [ sh:path dct:description ; sh:minCount 1 ; sh:datatype rdf:langString ] ,
    [ sh:path dct:identifier ; sh:nodeKind sh:Literal ] ,
    [ sh:path dct:publisher ; sh:maxCount 1 ; sh:class foaf:Agent ] ,
    [ sh:path dct:accessRights ; sh:maxCount 1 ; sh:nodeKind sh:IRI ; sh:class dct:RightsStatement ] ,
    [ sh:path dct:modified ; sh:maxCount 1 ; sh:datatype xsd:dateTime ] ,
    [ sh:path dcat:version ; sh:maxCount 1 ; sh:nodeKind sh:Literal ] ,
    [ sh:path dcat:contactPoint ; sh:class vcard:Kind ] ,
    [ sh:path dcat:distribution ; sh:minCount 1 ; sh:class dcat:Distribution ] .
[] a sh:NodeShape ; sh:targetClass dcat:Distribution ;
  sh:property [ sh:path dcat:accessURL ; sh:minCount 1 ; sh:nodeKind sh:IRI ] ,
    [ sh:path dcat:byteSize ; sh:maxCount 1 ; sh:datatype xsd:nonNegativeInteger ] ,
    [ sh:path dct:issued ; sh:maxCount 1 ; sh:datatype xsd:dateTime ] ,
    [ sh:path dct:license ; sh:maxCount 1 ; sh:nodeKind sh:IRI ; sh:class dct:LicenseDocument ] ,
    [ sh:path dct:rights ; sh:maxCount 1 ; sh:class dct:RightsStatement ] ,
    [ sh:path spdx:checksum ; sh:maxCount 1 ; sh:class spdx:Checksum ] .
[] a sh:NodeShape ; sh:targetClass foaf:Agent ; sh:property [ sh:path foaf:name ; sh:minCount 1 ] .
[] a sh:NodeShape ; sh:targetClass spdx:Checksum ;
  sh:property [ sh:path spdx:algorithm ; sh:minCount 1 ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] ,
    [ sh:path spdx:checksumValue ; sh:minCount 1 ; sh:maxCount 1 ; sh:datatype xsd:hexBinary ] .
"""


def bare(**more: str) -> LabData:
    """What a registry says at least."""
    found = {"lab": "b", "name": "t", "source": "s", "data_class": "open", "publisher": "b", "title": "t"}
    return LabData(**(found | {"description": "t"} | more))  # type: ignore[arg-type]


@pytest.fixture
def beside(place: Place) -> Path:
    """What a sync published beside the data."""
    place.put(a="one", b="two")
    place.sync()
    return place.root / "birds" / "train.lab"


def test_croissant_is_what_mlcroissant_reads(beside: Path) -> None:
    """Without an error or a warning of its; the manifest is where it says, and as it says."""
    found = mlcroissant.Dataset(str(beside / "croissant.json"))
    assert ([], []) == (sorted(found.metadata.ctx.issues.errors), sorted(found.metadata.ctx.issues.warnings))
    assert ("birds-train", "Sounds of birds.", ["CC-BY-4.0"]) == (
        found.metadata.name,
        found.metadata.description,
        found.metadata.license,
    )
    manifest, files = found.metadata.distribution
    data = (beside / manifest.content_url).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest.sha256
    assert (["manifest"], ["**/*.parquet"]) == (files.contained_in, files.includes)


@pytest.mark.parametrize("contact", ["", "a@lab.example", "mailto:a@lab.example", "https://lab.example"])
def test_the_least_that_a_lab_says_is_croissant(contact: str) -> None:
    """Nothing that may be missing makes a file that is refused."""
    found = json.loads(croissant(bare(contact=contact), VERSION, digest="0" * 64))
    assert [] == sorted(mlcroissant.Dataset(found).metadata.ctx.issues.errors)


def test_dcat_has_what_the_profile_demands(beside: Path, place: Place) -> None:
    """DCAT-AP 3: a data set has title and description, a distribution an access URL; and what we promise beside."""
    graph = rdflib.Graph().parse(beside / "dcat.jsonld", format="json-ld")
    (data,) = graph.subjects(RDF.type, DCAT.Dataset)
    (distribution,) = graph.objects(data, DCAT.distribution)
    (publisher,) = graph.objects(data, DCTERMS.publisher)
    (contact,) = graph.objects(data, DCAT.contactPoint)
    (checksum,) = graph.objects(distribution, SPDX.checksum)
    assert {
        (data, DCTERMS.title, rdflib.Literal("Bird sounds", lang="en")),
        (data, DCTERMS.description, rdflib.Literal("Sounds of birds.", lang="en")),
        (data, DCTERMS.accessRights, rdflib.URIRef(f"{RIGHTS}PUBLIC")),
        (publisher, RDF.type, FOAF.Agent),
        (publisher, FOAF.name, rdflib.Literal("Birds of the North", lang="en")),
        (contact, VCARD.hasEmail, rdflib.URIRef("mailto:data@lab.example")),
        (distribution, RDF.type, DCAT.Distribution),
        (distribution, DCAT.accessURL, rdflib.URIRef(place.folder.as_uri())),
        (distribution, DCTERMS.license, rdflib.URIRef("https://spdx.org/licenses/CC-BY-4.0")),
    } <= {*graph}
    (size,) = graph.objects(distribution, DCAT.byteSize)
    (manifest,) = place.folder.glob(".*[0-9a-f].aifa-manifest.jsonl")
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert (6, digest) == (int(size), next(graph.objects(checksum, SPDX.checksumValue)).toPython().hex())


@pytest.mark.parametrize(
    "more", [{}, {"contact": "https://lab.example", "licence": "MIT", "policy": "https://x.example"}]
)
def test_dcat_conforms(more: dict[str, str]) -> None:
    """Whatever a lab says; and what lacks its title does not."""
    made = json.loads(dcat(bare(**more), VERSION, url="sftp://lab.example/d/t", digest="0" * 64))
    good, _, told = pyshacl.validate(json.dumps(made), data_graph_format="json-ld", shacl_graph=SHAPES)
    del made["dct:title"]
    bad, _, _ = pyshacl.validate(json.dumps(made), data_graph_format="json-ld", shacl_graph=SHAPES)
    assert (True, False) == (good, bad), told


@pytest.mark.parametrize(("data_class", "right"), [("open", "PUBLIC"), ("internal", "RESTRICTED")])
def test_the_class_is_the_access_right(data_class: str, right: str) -> None:
    """In the words of the EU's table; a licence that is no SPDX id or URL is not made into one."""
    made = dcat(bare(data_class=data_class, licence="ask us"), VERSION, url="s3://b/t", digest="0" * 64)
    graph = rdflib.Graph().parse(data=made, format="json-ld")
    assert [rdflib.URIRef(f"{RIGHTS}{right}")] == list(graph.objects(None, DCTERMS.accessRights))
    assert [] == list(graph.objects(None, DCTERMS.license))
