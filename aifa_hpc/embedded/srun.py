# ruff: noqa: PTH116, PTH118, PTH119, PTH123 - every call starts a Python, and pathlib would slow that
"""srun: runs a program as the tasks of a job step, all of them here, each told which node it is on."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, TYPE_CHECKING

from aifa_hpc.slurm.hostlist import compress_hostlist

from .environment import exported, file_name
from .step import OPTIONS, Layout, Rank, count, error, lay_out, task_environment
from .store import CANCELLED, COMPLETED, FAILED, RUNNING, Job, Store
from .words import PARSING_EXIT, Refusal, read_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .settings import Settings

_FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT")
_CLOSED = -1


def main(settings: Settings, argv: Sequence[str]) -> int:
    """Runs ``srun ARGV``; the exit code is the highest of the tasks', 128 + N for one that signal N ended."""
    options, command = read_line("srun", OPTIONS, argv, exit_code=PARSING_EXIT)
    if not command:
        raise Refusal("srun: fatal: No command given to execute.")
    if "multi-prog" in options or ":" in command:
        raise error("--multi-prog and heterogeneous steps are not known to the embedded scheduler")
    number = options.get("jobid", os.environ.get("SLURM_JOB_ID", ""))
    store = Store(settings.database)
    job = store.job(int(number)) if number.isdecimal() else None
    if job is None or job.state != RUNNING or "SLURM_JOB_NODELIST" not in os.environ:
        raise error("the embedded scheduler starts tasks inside a running job only; put srun into a batch script")
    layout = lay_out(options, os.environ)
    if layout.warning:
        sys.stderr.write(layout.warning + "\n")
    return _Step(store, job, options, command, layout, kill_wait=settings.kill_wait).run()


class _Step:
    """One srun."""

    def __init__(
        self,
        store: Store,
        job: Job,
        options: Mapping[str, str],
        command: Sequence[str],
        layout: Layout,
        *,
        kill_wait: float,
    ) -> None:
        self.kill_wait = kill_wait
        self.store, self.job, self.options, self.command, self.layout = store, job, options, command, layout
        self.tasks: list[tuple[Rank, subprocess.Popen[bytes] | None]] = []
        self.codes: dict[int, int] = {}  # rank: as Popen.returncode
        self.files: dict[str, int] = {}
        self.pumps: list[threading.Thread] = []
        self.write = threading.Lock()
        self.step = ""

    def run(self) -> int:
        # SIGINT and SIGTERM must reach the tasks even when they arrive between two of them starting.
        for name in _FORWARDED:
            signal.signal(getattr(signal, name), self._forward)
        with self.store.transaction():
            self.step = self.store.next_step(self.job.id, self.job.restarts)
            self.store.add_step(
                job=self.job.id,
                restarts=self.job.restarts,
                step=self.step,
                name=self.options.get("job-name", os.path.basename(self.command[0])),
                state=RUNNING,
                nodes=compress_hostlist(self.layout.hosts),
                tasks=len(self.layout.ranks),
                cpus=len(self.layout.ranks) * (count(self.options, "cpus-per-task", None) or 1),
                started=time.time(),
                pid=os.getpid(),
            )
        for rank in self.layout.ranks:
            self.tasks.append((rank, self._start(rank)))
        for number in self.files.values():
            os.close(number)
        self._feed()
        self._wait()
        for pump in self.pumps:
            pump.join()
        worst = max(self.codes.values(), key=_shell_code)
        self._record(worst)
        return _shell_code(worst)

    def _start(self, rank: Rank) -> subprocess.Popen[bytes] | None:
        cpus = self.options.get("cpus-per-task", os.environ.get("SRUN_CPUS_PER_TASK"))
        export = self.options.get("export", os.environ.get("SLURM_EXPORT_ENV"))
        base = exported(os.environ, export)
        env = task_environment(base, self.layout, rank, step=self.step, cpus_per_task=cpus)
        label = "label" in self.options or os.environ.get("SLURM_LABELIO") == "1"
        values = self._values(rank)
        out = self._target("output", values, rank, 1)
        err = (
            out if "output" in self.options and "error" not in self.options else self._target("error", values, rank, 2)
        )
        piped = [label and target in {1, 2} for target in (out, err)]
        streams = [
            subprocess.PIPE if pipe else subprocess.DEVNULL if target == _CLOSED else target
            for pipe, target in zip(piped, (out, err), strict=True)
        ]
        try:
            if "PATH" not in env and "/" not in self.command[0]:
                # --export=NONE leaves no PATH to look on, and Slurm looks nowhere else
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            process = subprocess.Popen(
                self.command,
                stdin=self._input(rank),
                stdout=streams[0],
                stderr=streams[1],
                cwd=self.options.get("chdir") or None,
                env=env,
                process_group=0,
            )
        except OSError as wrong:
            code = wrong.errno or 1
            self._say(f"slurmstepd: error: execve(): {self.command[0]}: {wrong.strerror}")
            self._say(f"srun: error: {rank.host}: task {rank.rank}: Exited with exit code {code}")
            self.codes[rank.rank] = code
            return None
        for stream, number in ((process.stdout, 1), (process.stderr, 2)):
            if stream is not None:
                pump = threading.Thread(target=self._label, args=(stream, number, rank.rank))
                pump.start()
                self.pumps.append(pump)
        return process

    def _values(self, rank: Rank) -> dict[str, str]:
        job = self.job
        return {
            "j": str(job.id),
            "J": f"{job.id}.{self.step}",
            "A": str(job.base),
            "a": str(job.array_task if job.array_task is not None else 4294967294),
            "s": self.step,
            "N": rank.host,
            "n": str(rank.node),
            "t": str(rank.rank),
            "u": job.request.user,
            "x": job.name.replace("/", "_"),
        }

    def _target(self, option: str, values: Mapping[str, str], rank: Rank, own: int) -> int:
        """Where a stream goes: srun's own, nowhere, or a file that is opened once for all who share its name."""
        pattern = self.options.get(option, "all")
        if pattern == "all":
            return own
        if pattern == "none" or (pattern.isdecimal() and int(pattern) != rank.rank):
            return _CLOSED
        if pattern.isdecimal():
            return own
        path = os.path.join(self.options.get("chdir", ""), file_name(pattern, values))
        if path not in self.files:
            mode = os.O_TRUNC if not self.options.get("open-mode", "t").startswith("a") else 0
            try:
                self.files[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | mode, 0o666)
            except OSError as wrong:
                raise error(f"Could not open stdout file {path}: {wrong.strerror}") from None
        return self.files[path]

    def _input(self, rank: Rank) -> int | IO[bytes]:
        source = self.options.get("input", "all")
        if source == "none" or (source.isdecimal() and int(source) != rank.rank):
            return subprocess.DEVNULL
        if source != "all" and not source.isdecimal():
            try:
                return open(source, "rb")
            except OSError as wrong:
                raise error(f"Could not open stdin file {source}: {wrong.strerror}") from None
        if source.isdecimal() or len(self.layout.ranks) == 1 or _is_null(0):
            return 0
        return subprocess.PIPE

    def _feed(self) -> None:
        """Copies srun's standard input to all tasks, as Slurm does."""
        sinks = [process.stdin for _, process in self.tasks if process is not None and process.stdin is not None]
        if sinks:
            threading.Thread(target=_broadcast, args=(sinks,), daemon=True).start()

    def _wait(self) -> None:
        patience = count(self.options, "wait", None) if self.options.get("wait", "0") != "0" else None
        kill_on_bad = self.options.get("kill-on-bad-exit", os.environ.get("SLURM_KILL_BAD_EXIT", "0")) != "0"
        killed, first_end = 0.0, 0.0
        while len(self.codes) < len(self.tasks):
            ended = [
                (rank, process.returncode)
                for rank, process in self.tasks
                if rank.rank not in self.codes and process is not None and process.poll() is not None
            ]
            for rank, code in ended:
                self.codes[rank.rank] = code
                self._report(rank, code)
            first_end = first_end or (time.monotonic() if self.codes else 0.0)
            bad = kill_on_bad and any(self.codes.values())
            late = patience is not None and first_end and time.monotonic() - first_end > patience
            if (bad or late) and not killed and len(self.codes) < len(self.tasks):
                killed = time.monotonic()
                self._say(f"srun: launch/slurm: _step_signal: Terminating StepId={self.job.id}.{self.step}")
                self._signal(signal.SIGTERM)
            elif killed and time.monotonic() - killed > self.kill_wait:
                self._signal(signal.SIGKILL)
            if not ended:
                time.sleep(0.01)

    def _report(self, rank: Rank, code: int) -> None:
        if code > 0:
            self._say(f"srun: error: {rank.host}: task {rank.rank}: Exited with exit code {code}")
        elif code < 0:
            self._say(f"srun: error: {rank.host}: task {rank.rank}: {signal.strsignal(-code)}")

    def _record(self, worst: int) -> None:
        with self.store.transaction():
            job = self.store.job(self.job.id)
            stopped = job is not None and bool(job.killing) and worst != 0
            state = CANCELLED if stopped or worst < 0 else COMPLETED if worst == 0 else FAILED
            self.store.end_step(
                self.job.id,
                self.job.restarts,
                self.step,
                state=state,
                ended=time.time(),
                exit_code=max(worst, 0),
                exit_signal=max(-worst, 0),
            )

    def _forward(self, number: int, _frame: object) -> None:
        self._signal(number)

    def _signal(self, number: int) -> None:
        for rank, process in self.tasks:
            if process is not None and rank.rank not in self.codes:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)

    def _label(self, stream: IO[bytes], number: int, rank: int) -> None:
        width = len(str(len(self.layout.ranks) - 1))
        for line in stream:
            with self.write:
                _write_all(number, f"{rank:{width}}: ".encode() + line.rstrip(b"\n") + b"\n")

    def _say(self, text: str) -> None:
        with self.write:
            _write_all(2, os.fsencode(text) + b"\n")


def _shell_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


def _is_null(number: int) -> bool:
    """Whether a file is ``/dev/null`` or closed: nothing to copy then."""
    try:
        return os.fstat(number).st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True


def _broadcast(sinks: list[IO[bytes]]) -> None:
    while sinks:
        data = os.read(0, 65536)
        for sink in list(sinks):
            try:
                if data:
                    sink.write(data)
                    sink.flush()
                else:
                    sink.close()
            except OSError:  # this task reads no more
                sinks.remove(sink)
        if not data:
            return
