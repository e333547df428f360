#!/usr/bin/env python3
# ruff: noqa: UP006, UP031, UP035, UP045, RUF100, EXE001 - Python 3.6 has no other way to say it; printed, then made executable
# ruff: noqa: PTH100, PTH118, PTH120, PTH123, PTH202, T201, S311 - one file of its own, for a node without a network
"""Checks manifests on a node without a network: one file, Python 3.6, nothing installed, nothing of aifa_hpc.

    python3 check.py /scratch/project_465000001/digits/.aifa-manifest.jsonl
    python3 check.py --sample 100 /scratch/.../.aifa-manifest.jsonl

Exits with 0 when all is as it was published, with 1 when something is missing or damaged, with 2 when a manifest cannot
be used. A sample looks at every file's size and hashes so many blocks, other ones with another ``--seed``.
"""

import argparse
import hashlib
import json
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, Iterator, List, Optional, Tuple  # noqa: F401 - type comments

BLOCK = 8 * 2**20
CHUNK = 2**20
VERSION = 2

Range = Tuple[str, int, int, str]  # path, offset, length, SHA-256 that it must have


class Unusable(Exception):  # noqa: N818 - what the manifest is
    """A manifest that says nothing."""


def read_manifest(path: str) -> List[Dict[str, Any]]:
    """The entries of a manifest, when its header vouches for all of them."""
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().split("\n")
        header = json.loads(lines[0])
        entries = [json.loads(line) for line in lines[1:-1]]
        if header["aifa_manifest"] != VERSION:
            raise Unusable("it is of version %s, and this program knows %d" % (header["aifa_manifest"], VERSION))
        total = hashlib.sha256()
        for entry in entries:
            name = entry["path"].encode("utf-8", "surrogateescape")
            if name.startswith(b"/") or b".." in name.split(b"/"):
                raise Unusable("%r leaves its folder" % entry["path"])
            total.update(("%s %d " % (entry["digest"], entry["size"])).encode("ascii") + name + b"\0")
        if lines[-1] or header["files"] != len(entries) or header["tree"] != "sha256:" + total.hexdigest():
            raise Unusable("it was cut or edited")
    except OSError as error:
        raise Unusable("it cannot be read: %s" % error.strerror)  # noqa: B904 - told to a person
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable("it is no manifest: %r" % error)  # noqa: B904 - told to a person
    return entries


def ranges(folder: str, entry: Dict[str, Any]) -> Iterator[Range]:
    """The blocks of a file, with the hashes that they must have."""
    blocks = entry.get("blocks") or ([entry["digest"].partition(":")[2]] if entry["size"] else [])
    for number, wanted in enumerate(blocks):
        offset = number * BLOCK
        yield os.path.join(folder, entry["path"]), offset, min(BLOCK, entry["size"] - offset), wanted


def size_problem(folder: str, entry: Dict[str, Any]) -> str:
    """What is wrong with a file before a look inside; empty for nothing."""
    try:
        size = os.path.getsize(os.path.join(folder, entry["path"]))
    except OSError as error:
        return "cannot be looked at: %s" % error.strerror
    return "" if size == entry["size"] else "has %d bytes where %d were published" % (size, entry["size"])


def block_problem(one: Range) -> Optional[Tuple[str, str]]:
    """Hashes a block; its path and what is wrong with it."""
    path, offset, length, wanted = one
    found = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            while length:
                piece = file.read(min(CHUNK, length))
                if not piece:
                    break
                found.update(piece)
                length -= len(piece)
    except OSError as error:
        return path, "cannot be read: %s" % error.strerror
    if found.hexdigest() != wanted:
        return path, "is damaged at byte %d or behind it, within %d MiB" % (offset, BLOCK // 2**20)
    return None


def check(manifest: str, sample: Optional[int], seed: int, workers: int) -> Tuple[int, int, Dict[str, str]]:
    """Checks one manifest: how many files it has, how many bytes were hashed, and what is wrong by path."""
    entries = read_manifest(manifest)
    folder = os.path.dirname(os.path.abspath(manifest))
    bad = {}  # type: Dict[str, str]
    blocks = []  # type: List[Range]
    for entry in entries:
        problem = size_problem(folder, entry)
        if problem:
            bad[os.path.join(folder, entry["path"])] = problem
        else:
            blocks += ranges(folder, entry)
    if sample is not None:
        blocks = random.Random(seed).sample(blocks, min(sample, len(blocks)))
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(block_problem, blocks):
            if found is not None:
                bad.setdefault(found[0], found[1])
    return len(entries), sum(one[2] for one in blocks), bad


def main(words: Optional[List[str]] = None) -> int:
    """Reads the command line, checks, tells, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Check data against the manifests that its copies published.")
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument("--sample", type=int, metavar="N", help="hash N blocks of each, not every byte")
    parser.add_argument("--seed", type=int, default=0, help="choose the blocks of a sample")
    parser.add_argument("--workers", type=int, default=8, help="hash so many blocks at a time")
    told = parser.parse_args(words)
    code = 0
    for manifest in told.manifests:
        try:
            files, size, bad = check(manifest, told.sample, told.seed, told.workers)
        except Unusable as error:
            print("%s cannot be used: %s" % (manifest, error), file=sys.stderr)
            code = 2
            continue
        for path in sorted(bad):
            print("%r %s" % (path, bad[path]), file=sys.stderr)
        print("%s: %d files, %d bytes hashed, %d bad" % (manifest, files, size, len(bad)))
        code = max(code, 1 if bad else 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
