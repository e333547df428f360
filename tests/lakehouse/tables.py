"""Real Iceberg tables in a folder: made by pyiceberg, and delete files that pyiceberg reads and does not write.

A table is written by its own engine; deletes of rows are added the way the spec says, as a commit of their own. That
they are right is judged by DuckDB, which reads the source as well as the copy.
"""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import data_file_with_partition, manifest_entry_schema_with_data_file
from pyiceberg.utils.schema_conversion import AvroSchemaConversion
from pyroaring import BitMap

if TYPE_CHECKING:
    from pyiceberg.table import Table

_PATH_ID, _POS_ID = 2147483546, 2147483545


def catalog(folder: Path) -> SqlCatalog:
    """A catalog on SQLite whose tables lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = SqlCatalog("lab", uri=f"sqlite:///{folder}/catalog.db", warehouse=str(folder))
    made.create_namespace_if_not_exists("d")
    return made


def local(location: str) -> Path:
    """A location as a path."""
    return Path(location.removeprefix("file://"))


def put(table: Table, location: str, data: bytes) -> None:
    """Writes a file of a table, wherever the table is."""
    with table.io.new_output(location).create() as stream:
        stream.write(data)


def get(table: Table, location: str) -> bytes:
    """Reads one."""
    with table.io.new_input(location).open() as stream:
        return stream.read()


def data_files(table: Table) -> list[Any]:
    """The data files of the current snapshot."""
    return [task.file for task in table.scan().plan_files()]


def position_delete(table: Table, positions: dict[str, list[int]], *, name: str = "deletes") -> dict[str, Any]:
    """Writes a file that deletes rows by file and position, and returns its entry in a manifest."""
    rows = sorted((path, position) for path, found in positions.items() for position in found)
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": str(_PATH_ID)}),
            pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": str(_POS_ID)}),
        ]
    )
    location = f"{table.location()}/data/{name}.parquet"
    columns = [[row[0] for row in rows], [row[1] for row in rows]]
    out = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), out)
    put(table, location, out.getvalue())
    bounds = (rows[0][0].encode(), rows[-1][0].encode())
    return {
        "content": 1,
        "file_path": location,
        "file_format": "PARQUET",
        "record_count": len(rows),
        "file_size_in_bytes": len(out.getvalue()),
        "lower_bounds": [{"key": _PATH_ID, "value": bounds[0]}],
        "upper_bounds": [{"key": _PATH_ID, "value": bounds[1]}],
    }


def deletion_vectors(table: Table, positions: dict[str, list[int]], *, name: str = "vectors") -> list[dict[str, Any]]:
    """Writes one Puffin file with a deletion vector for each data file, and returns their entries in a manifest."""
    body, blobs, entries = b"PFA1", [], []
    for path, found in positions.items():
        bitmap = BitMap(found).serialize()
        vector = b"\xd1\xd3\x39\x64" + struct.pack("<q", 1) + struct.pack("<i", 0) + bitmap
        blob = struct.pack(">i", len(vector)) + vector + struct.pack(">I", zlib.crc32(vector))
        blobs.append(
            {
                "type": "deletion-vector-v1",
                "fields": [],
                "snapshot-id": -1,
                "sequence-number": -1,
                "offset": len(body),
                "length": len(blob),
                "properties": {"referenced-data-file": path, "cardinality": str(len(found))},
            }
        )
        entries.append(
            {
                "content": 1,
                "file_path": f"{table.location()}/data/{name}.puffin",
                "file_format": "PUFFIN",
                "record_count": len(found),
                "referenced_data_file": path,
                "content_offset": len(body),
                "content_size_in_bytes": len(blob),
            }
        )
        body += blob
    footer = json.dumps({"blobs": blobs, "properties": {}}).encode()
    data = body + b"PFA1" + footer + struct.pack("<iI", len(footer), 0) + b"PFA1"
    put(table, f"{table.location()}/data/{name}.puffin", data)
    return [entry | {"file_size_in_bytes": len(data)} for entry in entries]


def commit_deletes(table: Table, entries: list[dict[str, Any]]) -> str:
    """Adds delete files to the table as a snapshot of its own; returns the location of the new metadata.

    Args:
        table: Whose current snapshot they are added to.
        entries: What the functions above gave; with ``partition``, a dictionary, where the table has any.
    """
    metadata = json.loads(get(table, table.metadata_location))
    version, spec = metadata["format-version"], table.spec()
    number = time.time_ns() >> 1
    partition_type = spec.partition_type(table.schema())
    schema = AvroSchemaConversion().iceberg_to_avro(
        manifest_entry_schema_with_data_file(version, data_file_with_partition(partition_type, version)),
        schema_name="manifest_entry",
    )
    inherited = {"snapshot_id": number, "sequence_number": None, "file_sequence_number": None}
    records = [{"status": 1, "data_file": {"partition": {}} | entry} | inherited for entry in entries]
    location = f"{table.location()}/metadata/deletes-{number}.avro"
    header = {
        "schema": json.dumps(metadata["schemas"][-1]),
        "partition-spec": json.dumps(metadata["partition-specs"][-1]["fields"]),
        "partition-spec-id": str(spec.spec_id),
        "format-version": str(version),
        "content": "deletes",
    }
    manifest = io.BytesIO()
    fastavro.writer(manifest, schema, records, codec="deflate", metadata=header)
    put(table, location, manifest.getvalue())
    before = next(one for one in metadata["snapshots"] if one["snapshot-id"] == metadata["current-snapshot-id"])
    sequence = metadata["last-sequence-number"] + 1
    reader = fastavro.reader(io.BytesIO(get(table, before["manifest-list"])))
    listed = list(reader)
    added = dict(listed[-1]) | {
        "manifest_path": location,
        "manifest_length": len(manifest.getvalue()),
        "partition_spec_id": spec.spec_id,
        "content": 1,
        "sequence_number": sequence,
        "min_sequence_number": sequence,
        "added_snapshot_id": number,
        "added_files_count": len(records),
        "existing_files_count": 0,
        "deleted_files_count": 0,
        "added_rows_count": sum(entry["record_count"] for entry in entries),
        "existing_rows_count": 0,
        "deleted_rows_count": 0,
        "partitions": None,
    }
    manifest_list = f"{table.location()}/metadata/snap-{number}.avro"
    entries_of = io.BytesIO()
    fastavro.writer(entries_of, json.loads(reader.metadata["avro.schema"]), [*listed, added], codec="deflate")
    put(table, manifest_list, entries_of.getvalue())
    snapshot = before | {
        "snapshot-id": number,
        "parent-snapshot-id": before["snapshot-id"],
        "sequence-number": sequence,
        "timestamp-ms": before["timestamp-ms"] + 1,
        "manifest-list": manifest_list,
        "summary": {"operation": "delete"},
        "schema-id": metadata["current-schema-id"],
    }
    metadata |= {
        "last-sequence-number": sequence,
        "last-updated-ms": snapshot["timestamp-ms"],
        "current-snapshot-id": number,
        "snapshots": [*metadata["snapshots"], snapshot],
        "refs": {"main": {"snapshot-id": number, "type": "branch"}},
        "snapshot-log": [
            *metadata["snapshot-log"],
            {"snapshot-id": number, "timestamp-ms": snapshot["timestamp-ms"]},
        ],
    }
    path = f"{table.location()}/metadata/{number}.metadata.json"
    put(table, path, json.dumps(metadata).encode())
    return path
