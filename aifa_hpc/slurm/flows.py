"""Small errands to the scheduler, each a generator over :class:`Command` that never touches a wire.

Submitting is ``slurm.submission``, asking is ``slurm.query``, reading logs is ``slurm.logs``.
"""

from __future__ import annotations

from aifa_hpc.command import Command, Flow


def cancel(job: str) -> Flow[None]:
    """Cancels a job. Tracking tells when it has happened.

    A job that is over, or that Slurm does not know (any more), is no error: scancel says nothing and exits with 0.

    Raises:
        SiteError: Not permitted, or Slurm does not answer.
    """
    completed = yield Command(argv=("scancel", job), idempotent=True)
    if completed.exit_code != 0:
        raise completed.refusal(f"job {job} could not be cancelled")
