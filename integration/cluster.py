"""Test clusters shaped like LUMI and JUPITER: real Slurm, real sshd, on this machine's loopback.

::

    python integration/cluster.py up                # both; up lumi --how container for one of them elsewhere
    AIFA_CONFIG_DIR=/var/tmp/aifa-clusters/config aifa ... --site lumi-test
    python integration/cluster.py shell jupiter
    python integration/cluster.py stop lumi slurmdbd
    python integration/cluster.py admin lumi -- scontrol update nodename=nid005001 state=drain reason=test
    python integration/cluster.py down
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import get_args

if __name__ == "__main__":  # run as a program: the checkout is where `integration` is found
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from integration.clusters.control import DEFAULT_HOW, Cluster, Connection, clusters_dir
from integration.clusters.engine import find_engine
from integration.clusters.places import How
from integration.clusters.processes import run

SITES = tuple(sorted(DEFAULT_HOW))

# Program, and the Debian package it is in.
_ALWAYS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client"}
_NATIVE = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "/usr/bin/python3": "python3",
    "/usr/bin/torchrun": "python3-torch",
    "openssl": "openssl",
    "modulecmd": "environment-modules",
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "sshd": "openssh-server",
    "google-authenticator": "libpam-google-authenticator",
    "rsync": "rsync",
    "unshare": "util-linux",
}
# A browser and a terminal, for tests of what is looked at; clusters boot without them.
_FACES = {"chromium": "chromium", "chromedriver": "chromium-driver", "tmux": "tmux"}
# A database server, for tests of catalogs of tables; also without clusters.
_CATALOGS = {"initdb": "postgresql"}
_POSTGRES = "/usr/lib/postgresql"  # Debian keeps a server's programs in a folder for each version of it, below
# A file system with a quota, for faults of copies; likewise.
_DISKS = {"mkfs.btrfs": "btrfs-progs"}
_ENGINE = {"podman": "podman", "runc": "runc", "debootstrap": "debootstrap"}

__all__ = ["SITES", "Cluster", "Connection", "clusters_dir", "main", "missing"]


def missing(ways: set[How], *, tests: bool = False) -> list[str]:
    """Debian packages that this machine lacks for clusters in these places, and for tests beside them."""
    wanted = _ALWAYS | (_FACES | _CATALOGS | _DISKS if tests else {})
    if "native" in ways:
        wanted |= _NATIVE
    if "container" in ways and find_engine() is None:
        wanted |= _ENGINE
    servers = map(str, Path(_POSTGRES).glob("*/bin"))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *servers])
    return sorted({package for program, package in wanted.items() if shutil.which(program, path=path) is None})


def needs(ways: set[How], *, install: bool) -> int:
    """Says what is missing, and installs it where that can be done; 0 when nothing is missing any more."""
    if "native" in ways and os.geteuid() != 0:
        print("native clusters need root; without it use --how container")
    packages = missing(ways, tests=True)
    if not packages:
        print("nothing is missing")
        return 0
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if not install or os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("missing; as root on Debian 12: " + " ".join(command))
        return 1 if missing(ways) else 0  # tests of a browser, a terminal, PostgreSQL or quotas are skipped without
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:  # packages start their daemons when they are installed; the clusters start their own
        policy.write_text("#!/bin/sh\nexit 101\n", "utf-8")
        policy.chmod(0o755)
    try:
        run("apt-get", "update", "-qq")
        run("env", "DEBIAN_FRONTEND=noninteractive", *command)
    finally:
        if ours:
            policy.unlink()
    print("installed: " + " ".join(packages))
    left = missing(ways, tests=True)
    if left:
        print("still missing: " + " ".join(left))
    return 1 if left else 0


def _ways(sites: list[str], how: How | None) -> set[How]:
    return {how or DEFAULT_HOW[site] for site in sites}


def _up(sites: list[str], how: How | None) -> int:
    lacking = missing(_ways(sites, how))
    if lacking:
        print("missing: " + " ".join(lacking) + "; `cluster.py needs --install` installs it", file=sys.stderr)
        return 1
    for site in sites:
        connection = Cluster(site).up(how)
        print(
            f"{site}: Slurm {connection.slurm} ({connection.how}), ssh -F {connection.ssh_config} {site}-test, "
            f"booted in {connection.boot_seconds:g} s"
        )
    print(f"export AIFA_CONFIG_DIR={clusters_dir() / 'config'}")
    return 0


def _status(*, as_json: bool) -> int:
    found = {}
    for site in SITES:
        cluster = Cluster(site)
        connection = cluster.connection()
        found[site] = {"daemons": cluster.status(), "connection": asdict(connection) if connection else None}
    if as_json:
        print(json.dumps(found, indent=2))
        return 0
    for site in SITES:
        daemons = found[site]["daemons"]
        assert daemons is not None
        down = [name for name, runs in daemons.items() if not runs]
        print(f"{site}: {'up' if not down else 'down: ' + ' '.join(down)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster.py", description="Test clusters shaped like LUMI and JUPITER.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("up", "boot what does not run"), ("down", "end what runs and remove its files")):
        command = commands.add_parser(name, help=text)
        command.add_argument("sites", nargs="*", metavar="SITE", help=f"{' or '.join(SITES)}; all by default")
        if name == "up":
            command.add_argument("--how", choices=["auto", *get_args(How)], default="auto")
    commands.add_parser("status", help="which daemons run").add_argument("--json", action="store_true")
    command = commands.add_parser("needs", help="what this machine lacks")
    command.add_argument("--how", choices=["auto", *get_args(How)], default="auto")
    command.add_argument("--install", action="store_true")
    commands.add_parser("shell", help="log in as the user").add_argument("site", choices=SITES)
    for name in ("stop", "start"):
        command = commands.add_parser(name, help=f"{name} one daemon")
        command.add_argument("site", choices=SITES)
        command.add_argument("daemon", help="slurmctld, slurmdbd, mariadbd, munged, sshd or a node's name")
    command = commands.add_parser("admin", help="run a command inside as root")
    command.add_argument("site", choices=SITES)
    command.add_argument("argv", nargs="+", metavar="-- COMMAND")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    sites: list[str] = list(getattr(options, "sites", [])) or list(SITES)
    unknown = [site for site in sites if site not in SITES]
    if unknown:
        print(f"no cluster is shaped like {unknown[0]!r}; there are {', '.join(SITES)}", file=sys.stderr)
        return 2
    how: How | None = None if getattr(options, "how", "auto") == "auto" else options.how
    try:
        return _run(options, sites, how)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, sites: list[str], how: How | None) -> int:
    match options.command:
        case "up":
            return _up(sites, how)
        case "down":
            for site in sites:
                Cluster(site).down()
        case "status":
            return _status(as_json=options.json)
        case "needs":
            return needs(_ways(sites, how), install=options.install)
        case "shell":
            return Cluster(options.site).shell()
        case "stop":
            Cluster(options.site).stop(options.daemon)
        case "start":
            Cluster(options.site).start(options.daemon)
        case "admin":
            print(Cluster(options.site).admin(*options.argv), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
