# ruff: noqa: PTH108, PTH112, PTH118, PTH123 - every call starts a Python, and pathlib would slow that

"""The process that runs one job: takes it, starts its script, keeps its time limit, records how it ended.

It belongs to nobody (``processes.spawn_detached``), so the job goes on when its submitter ends. ``scancel`` writes what
it wants into the database and wakes it with SIGTERM. It looks at the database every half second besides, so a lost
signal only costs time.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from . import processes
from .environment import batch_values, exported, file_name, job_environment
from .scancel import signal_steps
from .schedule import MARKER, requeue, settle
from .store import CANCELLED, COMPLETED, FAILED, PENDING, REQUEUED, RUNNING, TIMEOUT, Job, Store

if TYPE_CHECKING:
    from .settings import Settings

_LOOK_SECONDS = 0.5
_NO_OUTPUT = 53
"""Signal number that Slurm reports for a job whose output file cannot be opened (``ExitCode`` 0:53)."""


def supervise(settings: Settings, number: int) -> None:
    """Runs a job to its end, then starts whoever is next."""
    waker = _Waker()
    processes.adopt_orphans()
    store = Store(settings.database)
    with store.transaction():
        job = store.job(number)
        if job is None or job.state != PENDING or not job.launched or job.held:
            return
        me = os.getpid()
        store.update(
            number,
            state=RUNNING,
            reason="None",
            started=time.time(),
            launched=0,
            pid=me,
            pid_started=processes.started(me),
        )
        job = _require(store, number)
    try:
        _Run(store, settings, job, waker).to_the_end()
    finally:
        settle(store, settings)
        store.close()


class _Waker:
    """Lets :meth:`wait` return early when a signal arrives."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> None:
        if select.select([self._read], [], [], max(0.0, seconds))[0]:
            os.read(self._read, 4096)


class _Run:
    """One attempt of a job."""

    def __init__(self, store: Store, settings: Settings, job: Job, waker: _Waker) -> None:
        self.store, self.settings, self.job, self.waker = store, settings, job, waker
        self.request = job.request
        self.values = batch_values(self.request, job=job.id, base=job.base, task=job.array_task)
        self.deadline = job.started + self.request.time_limit * settings.minute
        self.error = -1
        self.signal_at: float | None = None
        if self.request.signal is not None:
            self.signal_at = max(job.started, self.deadline - self.request.signal[2] * settings.minute / 60)

    def to_the_end(self) -> None:
        try:
            process = self._start()
        except OSError as error:
            self._say(f"slurmstepd: error: execve(): {error.strerror}: {error.filename}")
            # Slurm itself: 0:53 when files cannot be opened, else what a shell gives a program that cannot run
            self._end(FAILED, 0, _NO_OUTPUT) if self.error < 0 else self._end(FAILED, 126, 0)
            return
        state = ""
        while (code := process.poll()) is None:
            now = time.time()
            job = _require(self.store, self.job.id)
            if job.cancelled_by is not None or job.killing:
                state = CANCELLED if job.cancelled_by is not None else REQUEUED
            elif now >= self.deadline:
                state = TIMEOUT
            if state:
                self._kill(process, state)
                continue
            if self.signal_at is not None and now >= self.signal_at:
                self.signal_at = None
                self._warn(process)
            until = min(self.deadline, self.signal_at or self.deadline)
            self.waker.wait(min(_LOOK_SECONDS, until - now))
        processes.kill_descendants(os.getpid())
        code_, number = (code, 0) if code >= 0 else (0, -code)
        self._end(state or (COMPLETED if code == 0 else FAILED), code_, number)

    def _start(self) -> subprocess.Popen[bytes]:
        """Starts the script as itself, in a session of its own."""
        request, folder = self.request, self.settings.folder(self.job.id)
        os.umask(request.umask)
        submitted = dict(entry.split("=", 1) for entry in _strings(f"{folder}/environment"))
        env = job_environment(
            exported(submitted, request.export),
            request,
            job=self.job.id,
            base=self.job.base,
            task=self.job.array_task,
            restarts=self.job.restarts,
            cluster=self.settings.cluster,
            programs=self.settings.bin,
            home=pwd.getpwuid(os.getuid()).pw_dir,
            gid=os.getgid(),
        )
        env[MARKER] = f"{self.settings.root}:{self.job.id}"
        where, complaint = request.chdir, ""
        if not os.path.isdir(where):
            where = "/tmp"  # noqa: S108 - what slurmstepd does
            complaint = f"error: couldn't chdir to `{request.chdir}': No such file or directory: going to /tmp instead"
        output = self._open(where, request.output)
        try:
            self.error = self._open(where, request.error) if request.error else os.dup(output)
            if complaint:
                self._say(f"slurmstepd: {complaint}")
            source = os.open(os.path.join(where, file_name(request.input, self.values)), os.O_RDONLY)
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, source)
                process = subprocess.Popen(
                    [f"{folder}/script", *_strings(f"{folder}/arguments")],
                    stdin=source,
                    stdout=output,
                    stderr=self.error,
                    cwd=where,
                    env=env,
                    start_new_session=True,
                )
        finally:
            os.close(output)
        with self.store.transaction():
            self.store.update(self.job.id, session=process.pid)
            self.store.add_step(
                job=self.job.id,
                restarts=self.job.restarts,
                step="batch",
                name="batch",
                state=RUNNING,
                nodes=request.hosts[0],
                tasks=1,
                cpus=request.cpus_per_task or 1,
                started=time.time(),
                pid=process.pid,
            )
        return process

    def _open(self, where: str, pattern: str) -> int:
        truncate = self.request.open_mode != "append" and not self.job.restarts
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if truncate else 0)
        return os.open(os.path.join(where, file_name(pattern, self.values)), flags, 0o666)

    def _warn(self, process: subprocess.Popen[bytes]) -> None:
        """``--signal``: to the batch shell alone, or to the tasks of its sruns."""
        assert self.request.signal is not None
        shell_only, number, _ = self.request.signal
        if shell_only:
            processes.signal_all([process.pid], number)
        else:
            signal_steps(self.store, self.job, number)

    def _kill(self, process: subprocess.Popen[bytes], state: str) -> None:
        """SIGCONT and SIGTERM to all, SIGKILL after ``KillWait`` to those that are left."""
        self.store.update(self.job.id, killing=1)
        why = {TIMEOUT: " DUE TO TIME LIMIT", REQUEUED: " DUE TO JOB REQUEUE"}.get(state, "")
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
        self._say(f"slurmstepd: error: *** JOB {self.job.id} ON {self.request.hosts[0]} CANCELLED AT {stamp}{why} ***")
        everyone = processes.descendants(os.getpid())
        processes.signal_all(everyone, signal.SIGCONT)
        processes.signal_all(everyone, signal.SIGTERM)
        grace = time.time() + self.settings.kill_wait
        while process.poll() is None and time.time() < grace:
            self.waker.wait(min(_LOOK_SECONDS, grace - time.time()))
        if process.poll() is None:
            processes.signal_all([process.pid, *processes.descendants(os.getpid())], signal.SIGKILL)
            process.wait()

    def _say(self, text: str) -> None:
        """A line in the job's own error file, where people look."""
        if self.error >= 0:
            with contextlib.suppress(OSError):
                os.write(self.error, text.encode("utf-8", "surrogateescape") + b"\n")

    def _end(self, state: str, code: int, number: int) -> None:
        with self.store.transaction():
            now = time.time()
            job = _require(self.store, self.job.id)
            for step in self.store.steps(job):
                ended = (code, number) if step["step"] == "batch" else (0, int(signal.SIGKILL))
                # A step that a signal ended is cancelled, whatever the job is.
                how = state if step["step"] == "batch" and state in {COMPLETED, FAILED} and not number else CANCELLED
                self.store.end_step(
                    job.id, job.restarts, step["step"], state=how, ended=now, exit_code=ended[0], exit_signal=ended[1]
                )
            if state == REQUEUED and job.cancelled_by is None:
                requeue(self.store, job)
                return
            if state in {CANCELLED, TIMEOUT, REQUEUED}:  # how the script took it stands with the batch step
                state, code, number = (CANCELLED if state == REQUEUED else state), 0, 0
            reason = {TIMEOUT: "TimeLimit", FAILED: "NonZeroExitCode"}.get(state, "None")
            self.store.update(
                job.id, state=state, ended=now, exit_code=code, exit_signal=number, reason=reason, killing=0
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.settings.folder(job.id)}/environment")


def _strings(path: str) -> list[str]:
    with open(path, "rb") as file:
        return os.fsdecode(file.read()).split("\0")[:-1]


def _require(store: Store, number: int) -> Job:
    job = store.job(number)
    assert job is not None  # rows are never deleted
    return job
