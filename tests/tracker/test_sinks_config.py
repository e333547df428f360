"""``events.toml``: what it may say, and every problem of what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aifa_hpc.errors import InputError
from aifa_hpc.tracker.sinks.config import load_sinks, read_sinks

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[sinks.journal]
kind = "jsonl"
path = "~/aifa-events.jsonl"
[sinks.ops]
kind = "webhook"
url = "https://hooks.example.org/aifa"
token_file = "~/.config/aifa/ops.token"
since = 2026-11-24T00:00:00Z
[sinks.metrics]
kind = "prometheus"
path = "/var/lib/node_exporter/aifa.prom"
[sinks.runs]
kind = "mlflow"
uri = "https://mlflow.example.org"
"""

WRONG = """
color = "red"
[sinks.a]
kind = "jsonlines"
[sinks.b]
kind = "jsonl"
path = "events.jsonl"
[sinks.c]
kind = "webhook"
url = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
[sinks.d]
kind = "webhook"
url = "http://hooks.example.org"
token_env = "HOOK_TOKEN"
[sinks.e]
kind = "webhook"
url_env = "HOOK_URL"
url_file = "/f"
tokenfile = "/t"
[sinks.f]
kind = "prometheus"
path = "/metrics.txt"
[sinks.g]
kind = "jsonl"
path = "/g"
since = 2026-11-24T00:00:00
[sinks."h h"]
kind = "mlflow"
[sinks.i]
kind = "webhook"
url = "https://ada:hunter22@example.org"
"""


def test_every_kind_is_read() -> None:
    """In the order of the file."""
    assert ["journal", "ops", "metrics", "runs"] == [sink.name for sink in read_sinks(GOOD, "events.toml")]


def test_every_problem_is_told_at_once() -> None:
    """Each with its key, and no secret in any of them."""
    with pytest.raises(InputError) as caught:
        read_sinks(WRONG, "events.toml")
    found = {problem.key: str(problem) for problem in caught.value.problems}
    expected = {
        "color": "unknown key",
        "sinks.a.kind": "nearest legal value: jsonl",
        "sinks.b.path": "absolute path",
        "sinks.c.url": "url_file",
        "sinks.d.url": "https://",
        "sinks.e.tokenfile": "nearest legal value: token_file",
        "sinks.f.path": ".prom",
        "sinks.g.since": "timezone",
        "sinks.h h": "letters, digits",
        "sinks.i.url": "url_file",
    }
    assert set(expected) == set(found)
    assert [] == [key for key, words in expected.items() if words not in found[key]]
    assert not any(secret in str(caught.value) for secret in ("XXXX", "hunter22"))


@pytest.mark.parametrize("text", ["sinks = 3", "[sinks]\na = 3", "[[", '[sinks.a]\nkind = "webhook"'])
def test_other_forms_are_refused(text: str) -> None:
    """Not TOML, not tables, nothing to send to."""
    with pytest.raises(InputError, match=r"events\.toml"):
        read_sinks(text, "events.toml")


def test_without_a_file_there_are_no_sinks(tmp_path: Path) -> None:
    """The usual case; a folder in its place is an error."""
    assert [] == load_sinks(tmp_path)
    (tmp_path / "events.toml").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        load_sinks(tmp_path)
