"""Finds passwords, keys and tokens in texts that a job would show to everybody on a site.

Names and comments of jobs are in every ``squeue``, command lines in ``/proc``, and Slurm keeps scripts in its database.
So a secret must come to a program some other way: in a file that only its owner can read. What is looked for are forms
that nothing else has; hashes, digests, paths and the words of training programs (``--eos-token``) are left alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aifa_hpc.errors import Problem

MASK = "***"
_FRONT = 60  # of a command, enough to find the place

# Each form is its issuer's own: a fixed beginning, an alphabet, a length.
_FORMS = (
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]*"),
    ("an age key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    ("an AWS access key", r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])(?:[\s:,;]+[A-Za-z0-9/+]{40}\b)?"),
    ("a GitHub token", r"(?<![A-Za-z0-9])(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    ("a GitLab token", r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{20,}"),
    ("a Hugging Face token", r"(?<![A-Za-z0-9])(?:hf|api_org)_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    ("an Anthropic key", r"(?<![A-Za-z0-9])sk-ant-[a-z]+\d\d-[A-Za-z0-9_-]{20,}"),
    ("an OpenAI key", r"(?<![A-Za-z0-9])sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{48}\b)"),
    ("a Slack token", r"(?<![A-Za-z0-9])(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    ("a Slack webhook", r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}"),
    ("a Google key", r"(?<![A-Za-z0-9])(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28})"),
    ("a JSON web token", r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"),
    ("a package index token", r"(?<![A-Za-z0-9])(?:pypi-AgE[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36}\b)"),
    ("a container registry token", r"(?<![A-Za-z0-9])dckr_pat_[A-Za-z0-9_-]{27}"),
    ("a presigned URL", r"[?&](?:X-Amz-Signature=[0-9a-f]{64}|sig=[A-Za-z0-9%/+]{40,})"),
)
_KNOWN = re.compile("|".join(f"(?P<f{number}>{form})" for number, (_, form) in enumerate(_FORMS)))

# ``user:password@`` of a URL; a password that a shell fills in is none.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s/?#@:]{0,64}:(?P<value>[^\s/?#@]{1,256})@")
_BEARER = re.compile(r"\b(?:Bearer|Basic)\s+(?P<value>[A-Za-z0-9._~+/=-]{16,})")
_WORDS = (
    r"password|passwd|passphrase|secret|credentials?|token|api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key"
    r"|private[_-]?key|auth[_-]?key|encryption[_-]?key"
)
# NAME=value, name: value, --name value; the name may have more words in front.
_ASSIGNED = re.compile(
    rf"(?P<front>--?[A-Za-z0-9_.-]{{0,40}}?|[A-Za-z0-9_.-]{{0,40}}?)(?<![A-Za-z0-9])(?P<word>{_WORDS})"
    r"(?:[\"']?\s*[=:]\s*|(?P<gap>[\"']?,?\s+))[\"']?(?P<value>[^\s\"']+)",
    re.IGNORECASE,
)
_PASSWORD = re.compile(r"(?:password|passwd|passphrase)[\"']?\s*[=:]\s*[\"']?(?P<value>[^\s\"']+)", re.IGNORECASE)
_SECRET_NAME = re.compile(rf"(?:(?:^|_)(?:{_WORDS}|pat)|passw(?:or)?d)$", re.IGNORECASE)
_SECRET_NAMES = frozenset({"KAGGLE_KEY", "MYSQL_PWD", "SSHPASS"})
# What stands before ``token`` where it is a piece of text that a model reads.
_MODEL_TOKEN = re.compile(
    "pad|eos|bos|unk|mask|sep|cls|image|video|audio|special|stop|start|end|begins?|next|new|max|min|num|per|first|last"
    "|extra|prefix|suffix|separator|sentinel|sos|eot|bod|eod|fim|think|tool|user|system|assistant"
)

_AWS_SECRET = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9/+]{40}")
_FILE = re.compile(r"(?:[~.]{0,2}/.*|[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+/?|.*\.[A-Za-z][A-Za-z0-9]{0,4})", re.DOTALL)
# Narrower, where the name alone says that a secret is there.
_NAMED_FILE = re.compile(
    r"(?:~|\.{0,2})/.*|[A-Za-z0-9_./-]+\.(?:cfg|conf|env|ini|json|key|pem|toml|txt|ya?ml)", re.DOTALL
)
# A line of a program reads its secret from somewhere: `password=getpass()`, `token=environ["X"]`, `token=args.token`.
_CODE = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.]*[(\[].*|[A-Za-z_]+(?:\.[A-Za-z_]+)+\W*"
    r"|[A-Za-z_]*(?:password|secret|token|key|credential)[A-Za-z_]*\W*",
    re.IGNORECASE | re.DOTALL,
)
_FILLED_IN = re.compile(r"[$%<{\[(@`*]|(?:file|env|vault|op|pass):", re.IGNORECASE)
_PLAIN = re.compile(
    "true|false|yes|no|on|off|none|null|auto|default|required|optional|prompt|ask|stdin|env", re.IGNORECASE
)
_TOKEN = 16  # no issuer's tokens are shorter
_SHORTEST = {"token": 8, "secret": 6, "credential": 6, "credentials": 6}


def looks_secret(text: str) -> str:
    """What kind of secret a text holds; empty when it seems to hold none.

    Args:
        text: A word, a command line, a value.
    """
    return next((why for why, _, _ in _found(text)), "")


def hide(text: str) -> str:
    """The text with every secret in it replaced by ``***``."""
    while spot := next(_found(text), None):
        _, start, end = spot
        text = text[:start] + MASK + text[end:]
    return text


def shown(text: str) -> str:
    """The text up to its first secret: what comes behind may be the rest of it."""
    front = hide(text).partition(MASK)[0]
    return f"{front}{MASK}" if len(front) <= _FRONT else f"...{front[-_FRONT:]}{MASK}"


def named_secret(name: str, value: str) -> str:
    """Why a variable is secret by its name; empty when it is not, or its value is plainly none (a path, a number).

    Args:
        name: Of the variable.
        value: What it is set to.
    """
    if name not in _SECRET_NAMES and not _SECRET_NAME.search(name):
        return ""
    front, _, last = name.lower().rpartition("_")
    if last == "token" and _MODEL_TOKEN.fullmatch(front.rpartition("_")[2]):
        return ""
    plain = not value or _PLAIN.fullmatch(value) or re.fullmatch(r"\d{1,6}", value)
    file = _NAMED_FILE.fullmatch(value) and not _AWS_SECRET.fullmatch(value)
    return "" if plain or file else "secret by its name"


def without_secrets(problem: Problem) -> Problem:
    """The problem of a field as it may be shown: its value up to the first secret, its rule without any."""
    if problem.key.startswith("env.") and named_secret(problem.key.removeprefix("env."), "a value"):
        return replace(problem, value=MASK if problem.value else "", nearest="")
    if not any(map(looks_secret, (problem.value, problem.nearest, problem.rule))):
        return problem
    value = shown(problem.value) if looks_secret(problem.value) else problem.value
    return replace(problem, value=value, rule=hide(problem.rule), nearest="")


def _found(text: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of each secret."""
    if len(text) < 8:  # noqa: PLR2004 - no form is shorter, nor a word with its value
        return
    for match in _KNOWN.finditer(text):
        yield _FORMS[int(str(match.lastgroup)[1:])][0], match.start(), match.end()
    if "://" in text:
        for match in _URL.finditer(text):
            if not _FILLED_IN.match(match["value"]):
                yield "a password in a URL", *match.span("value")
    for match in _BEARER.finditer(text):
        if not re.fullmatch(r"[a-z]+", match["value"]):
            yield "a bearer token", *match.span("value")
    for match in _PASSWORD.finditer(text):
        if not _harmless(match["value"]):
            yield "a password", *match.span("value")
    yield from _assigned(text)


def _assigned(text: str) -> Iterator[tuple[str, int, int]]:
    """Values behind a word that says what they are."""
    start = 0
    while match := _ASSIGNED.search(text, start):
        # The value may begin the next word that says so: `--token --password x`.
        start = match.start("value")
        word, value = match["word"].lower(), match["value"]
        if match["gap"] is not None and (not match["front"].startswith("-") or value.startswith("-")):
            continue
        if _harmless(value) or len(value) < _SHORTEST.get(word, 4):
            continue
        if word == "token" and not _is_token(match["front"], value):
            continue
        yield f"the value of `{word}`", match.start("value"), match.end("value")


def _is_token(front: str, value: str) -> bool:
    """Not a piece of text that a model reads: that has no digit, or the name says which one it is."""
    qualifier = re.split(r"[_.-]+", front.strip("-_.").lower())[-1]
    return not _MODEL_TOKEN.fullmatch(qualifier) and (len(value) >= _TOKEN or any(sign.isdigit() for sign in value))


def _harmless(value: str) -> bool:
    """Nothing yet, a switch, something that a shell or a program fills in, or a file."""
    value = value.strip("\"',;")
    if not value or _PLAIN.fullmatch(value) or _FILLED_IN.match(value) or _CODE.fullmatch(value):
        return True
    return _FILE.fullmatch(value) is not None and not _AWS_SECRET.fullmatch(value)
