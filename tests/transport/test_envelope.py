"""The envelope: what goes in comes out of a real shell, and only whole streams have an exit code."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aifa_hpc.transport.envelope import Envelope

ENVELOPE = Envelope(nonce="0123456789abcdef")
BEGIN = b"aifa:0123456789abcdef:begin:42;"
END = b"aifa:0123456789abcdef:end:%d;"

# Words as os.fsdecode gives them: every byte but NUL, with what is not UTF-8 as surrogates.
WORDS = st.binary(max_size=30).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("shell", [name for name in ("bash", "dash", "busybox") if shutil.which(name)])
@settings(max_examples=25, deadline=None)
@given(words=st.lists(WORDS, max_size=4), code=st.integers(0, 255))
def test_words_and_exit_code_pass_through_a_shell(shell: str, words: list[str], code: int) -> None:
    """Any bytes but NUL are a word, whatever shell takes the line."""
    argv = ("sh", "-c", 'printf "%s\\000" "$@"; exit "$0"', str(code), *words)
    login = (shell, "sh", "-c") if shell == "busybox" else (shell, "-c")
    done = subprocess.run((*login, ENVELOPE.line(argv)), capture_output=True, check=False, stdin=subprocess.DEVNULL)
    out, err = ENVELOPE.read(done.stdout), ENVELOPE.read(done.stderr)
    assert (code, code, code) == (done.returncode, out.exit_code, err.exit_code)
    assert words == [word.decode("utf-8", "surrogateescape") for word in out.content.split(b"\0")[:-1] if words]
    assert err.content == b""


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_the_line_has_nothing_a_login_shell_could_expand(words: list[str]) -> None:
    """Printable ASCII only, and inside the quotes neither quote, exclamation mark nor a lone backslash."""
    line = ENVELOPE.line(tuple(words))
    frame = 'exec sh -c \'eval "$(printf %b "$1")"\' aifa \''
    assert line.startswith(frame)
    inner = line.removeprefix(frame).removesuffix("'")
    assert inner.isascii()
    assert inner.isprintable()
    assert set() == set(inner) & {"'", "!", "\n"}
    assert all(part[:1] == "0" for part in inner.split("\\")[1:])


def test_a_command_that_prints_its_own_line_makes_no_mark() -> None:
    """The nonce is in two halves there."""
    assert b"0123456789abcdef" not in ENVELOPE.line(("true",)).encode()


@given(before=st.binary(), content=st.binary(), after=st.binary(), code=st.integers(0, 255))
def test_only_the_commands_own_bytes_are_read(before: bytes, content: bytes, after: bytes, code: int) -> None:
    """Greetings before and orphans after are left away."""
    reading = ENVELOPE.read(before + BEGIN + content + END % code + after)
    assert (content, 42, code) == (reading.content, reading.pid, reading.exit_code)


@given(content=st.binary(max_size=50), cut=st.integers(0, 200))
def test_a_cut_stream_has_no_exit_code(content: bytes, cut: int) -> None:
    """Whatever is missing at the end, it is never taken for an end."""
    whole = BEGIN + content + END % 0
    reading = ENVELOPE.read(whole[: max(0, len(whole) - 1 - cut)])
    assert reading.exit_code is None


def test_a_stream_without_marks_is_kept_whole() -> None:
    """What ssh itself says is evidence."""
    reading = ENVELOPE.read(b"ssh: no route\n")
    assert (b"ssh: no route\n", None, None) == (reading.content, reading.pid, reading.exit_code)


def test_streaming_leaves_the_last_mark_to_standard_error() -> None:
    """A reader of bytes gets the command's bytes up to the end of the stream."""
    line = ENVELOPE.line(("printf", "data"), streaming=True)
    done = subprocess.run(("sh", "-c", line), capture_output=True, check=True)
    begin = ENVELOPE.begin(done.stdout)
    assert begin is not None
    assert done.stdout[begin[1] :] == b"data"
    assert ENVELOPE.read(done.stderr).exit_code == 0


def test_a_shell_builtin_is_not_a_program() -> None:
    """``exit`` cannot leave the envelope, and nothing but programs is run."""
    done = subprocess.run(("sh", "-c", ENVELOPE.line(("exit", "3"))), capture_output=True, check=False)
    assert ENVELOPE.read(done.stdout).exit_code == 127
