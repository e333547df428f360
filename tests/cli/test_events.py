"""``aifa events``: listing, following, delivering."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.tracker.receiving import Receiver

if TYPE_CHECKING:
    from conftest import Aifa


def configure(aifa: Aifa, text: str) -> None:
    """Writes ``events.toml``."""
    (aifa.home / "config").mkdir(exist_ok=True)
    (aifa.home / "config" / "events.toml").write_text(text)


def test_events_tell_a_jobs_life(aifa: Aifa) -> None:
    """In order, with the state before; people get a line each in a pipe, machines an object each."""
    assert (0, "") == ((ran := aifa("events")).code, ran.out)
    job = aifa("submit", aifa.job(), "--site", "local", "--wait", "--json").json
    found = [json.loads(line) for line in aifa("events", "--json").out.splitlines()]
    states = [event["state"] for event in found]
    assert (["SUBMITTING", "PENDING"], "COMPLETED") == (states[:2], states[-1])
    assert ["", *states[:-1]] == [event["previous"] for event in found]
    assert {(job["id"], job["token"], "local")} == {(one["id"], one["token"], one["site"]) for one in found[1:]}
    later = aifa("events", "--json", "--after", str(found[-2]["event"])).out.splitlines()
    assert (["COMPLETED"], len(found)) == (
        [json.loads(line)["state"] for line in later],
        len(aifa("events", "--site", "local").out.splitlines()),
    )


def test_following_shows_what_others_do(aifa: Aifa) -> None:
    """A job that another process submits later is asked about and told of, to its end."""
    following = subprocess.Popen(
        [sys.executable, "-c", "from aifa_hpc.cli import main; main()", "events", "--follow", "--json"],
        stdout=subprocess.PIPE,
        env=aifa.env,
        cwd=aifa.home,
        text=True,
    )
    aifa("submit", aifa.job(), "--site", "local")
    states = []
    assert following.stdout is not None
    for line in following.stdout:
        states.append(json.loads(line)["state"])
        if states[-1] == "COMPLETED":
            break
    following.kill()
    following.communicate()
    assert "SUBMITTING" == states[0]


def test_whoever_asks_a_site_delivers(aifa: Aifa) -> None:
    """`submit --wait` writes the file of JSON lines on its way; a webhook that fails does not fail it."""
    with Receiver() as receiver:
        receiver.answers = [503]
        configure(
            aifa,
            f'[sinks.a]\nkind = "jsonl"\npath = "{aifa.home}/events.jsonl"\n'
            f'[sinks.b]\nkind = "webhook"\nurl = "{receiver.url}"\n',
        )
        ran = aifa("submit", aifa.job(), "--site", "local", "--wait", "--json")
        written = [json.loads(line) for line in (aifa.home / "events.jsonl").read_text().splitlines()]
        assert (0, "COMPLETED", True) == (ran.code, written[-1]["state"], "answered 503" in ran.err)
        done = aifa("events", "deliver", "--json")
        assert (0, ["a", "b"]) == (done.code, [one["sink"] for one in done.json])
        assert [one["key"] for one in written] == list(dict.fromkeys(receiver.keys))


def test_what_cannot_be_delivered_is_told(aifa: Aifa) -> None:
    """With exit code 3; a wrong configuration is an input error that lists its problems; none is no error."""
    ran = aifa("events", "deliver")
    assert (0, True) == (ran.code, "no sinks; describe some in" in ran.err)
    aifa("submit", aifa.job(), "--site", "local", "--wait")
    configure(aifa, '[sinks.a]\nkind = "jsonl"\npath = "/nowhere/at/all"\n')
    ran = aifa("events", "deliver")
    assert (3, True) == (ran.code, "/nowhere/at/all: No such file or directory" in ran.err)
    configure(aifa, '[sinks.a]\nkind = "jason"\n[sinks.b]\nkind = "jsonl"\n')
    ran = aifa("events", "deliver", "--json")
    assert (2, ["sinks.a.kind", "sinks.b.path"]) == (ran.code, [one["key"] for one in json.loads(ran.err)["problems"]])
