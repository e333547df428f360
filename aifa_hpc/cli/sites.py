"""``aifa sites``: which machines are known, and what is known of them."""

from __future__ import annotations

from typing import Any

import click

from aifa_hpc.cli.base import Group, current_output


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.pass_context
def sites(context: click.Context, as_json: bool) -> None:
    """List the sites, or show one.

    Your own sites and settings stand in sites.toml in the configuration folder ($AIFA_CONFIG_DIR).
    """
    if context.invoked_subcommand is not None:
        return
    from aifa_hpc.cli.output import JsonOutput  # noqa: PLC0415
    from aifa_hpc.sites.load import load_sites  # noqa: PLC0415 - keeps `aifa --help` quick

    output = JsonOutput() if as_json else current_output()
    rows = [
        {
            "site": site.name,
            "ready": "draft" if site.draft else "yes",
            "transport": site.access.transport,
            "host": site.host if site.login.hosts or site.access.host else "",
            "account": site.access.account,
            "what": site.title,
        }
        for site in load_sites().values()
    ]
    output.table(("site", "ready", "transport", "host", "account", "what"), rows, empty="no sites")


@sites.command()
@click.argument("site")
def show(site: str) -> None:
    """Show what is known of SITE: partitions, storage, access, and every fact that is not certain."""
    from aifa_hpc.sites.load import facts, load_site  # noqa: PLC0415 - keeps `aifa --help` quick

    machine = load_site(site)
    output = current_output()
    found = list(facts(machine))
    doubts = [(key, fact) for key, fact in found if fact.status != "verified"]
    fields: dict[str, Any] = {
        "name": machine.name,
        "title": machine.title,
        "draft": machine.draft,
        "known": list(machine.known),
        "host": machine.host,
        "transport": machine.access.transport,
        "partitions": {
            name: {
                "nodes": partition.nodes,
                "node": partition.node,
                "max_time": str(partition.max_time),
                "max_nodes": partition.max_nodes or partition.nodes,
                "whole_node": partition.whole_node,
                "gpus_per_node": machine.nodes[partition.node].gpus,
                "billing": partition.billing,
            }
            for name, partition in machine.partitions.items()
        },
        "areas": {name: area.path for name, area in machine.areas.items()},
        "facts": [
            {
                "key": key,
                "status": fact.status,
                "source": fact.source,
                "checked_on": str(fact.checked_on),
                "note": fact.note,
            }
            for key, fact in found
        ],
    }
    lines = [f"{machine.name}: {machine.title}"]
    if machine.draft:
        lines += ["", f"DRAFT: {machine.draft}", *(f"  - {fact}" for fact in machine.known)]
    else:
        lines += ["", f"Log in: {machine.host} over {machine.access.transport}"]
        lines += [f"Host key: {key.type} {key.fingerprint}" for key in machine.login.host_keys]
        lines += ["", "Partitions"]
        lines += [
            f"  {name:<16} {row['nodes']:>5} nodes  up to {row['max_time']:>11} and {row['max_nodes']:>4} nodes"
            f"  {row['gpus_per_node']} GPUs a node, {'whole nodes' if row['whole_node'] else 'shared'}"
            for name, row in fields["partitions"].items()
        ]
        lines += ["", "Storage", *(f"  {name:<16} {path}" for name, path in fields["areas"].items())]
    if doubts:
        lines += ["", "Not certain (public sources are silent or disagree)"]
        lines += [f"  {key}: {fact.status}. {fact.note} [{fact.source}, {fact.checked_on}]" for key, fact in doubts]
    lines += ["", f"{len(found)} facts with their sources: aifa sites show {machine.name} --json"]
    output.record(fields, "\n".join(lines))
