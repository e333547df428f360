"""Why a job waits, runs or failed: what is remembered of it and what the site told, to an explanation.

Nothing is said beyond its evidence: a limit that might be meant is no cause, a collective that timed out is a sign, and
where nothing was found the explanation says that it found nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aifa_hpc.slurm.states import COMPLETED, WAITING
from aifa_hpc.tracker.ends import ended
from aifa_hpc.tracker.events import LAGGING, LOST, NOT_SENT, REFUSED, SUBMITTING, UNKNOWN
from aifa_hpc.tracker.explanation import Explanation, Finding, ordered
from aifa_hpc.tracker.limits import Asked
from aifa_hpc.tracker.waits import detail_of, job_of, position_of, refused, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aifa_hpc.slurm.inquiry import Told
    from aifa_hpc.tracker.failures import Pattern
    from aifa_hpc.tracker.records import Row

TAIL_LINES = 15
"""Of the log, for a person."""

_SETTLE = "`aifa jobs` asks the site again; never submit it again before that has told"
_OURS = {
    SUBMITTING: ("it is being submitted", ""),
    UNKNOWN: ("whether it was submitted is not known", _SETTLE),
    NOT_SENT: ("it never reached the site", "submit it again"),
    LAGGING: ("it has left the queue, and accounting does not show its end yet", "`aifa jobs` in a minute"),
    LOST: (
        "nobody shows it any more, and its script left no record of its end",
        "look into its folder; if its results are not there, submit it again",
    ),
}


def waits(row: Row) -> bool:
    """Whether a job is in the queue and does not run."""
    return row.status.state in WAITING


def explain(row: Row, told: Told, cluster: str, patterns: Sequence[Pattern]) -> Explanation:
    """Explains a job.

    Args:
        row: What is remembered of it.
        told: What the site told of it.
        cluster: Slurm's name of the cluster.
        patterns: What lines of a log mean.
    """
    status, job = row.status, job_of(told)
    findings: list[Finding] = []
    if status.state == REFUSED:
        asked = Asked(
            account=row.account,
            partition=row.partition,
            nodes=row.nodes_wanted,
            seconds=row.limit_seconds,
            tres={} if row.nodes_wanted is None else {"node": row.nodes_wanted},
        )
        findings += refused(told, status.reason, asked)
    elif waits(row) and job is not None:
        findings += waiting(told, job, detail_of(told))
    elif status.over or status.state == LAGGING:
        findings += ended(told, status, cluster, patterns)
    if status.state in _OURS:
        text, action = _OURS[status.state]
        findings.append(
            Finding(name=status.state.lower(), text=text, action=action, evidence=status.reason, origin="the store")
        )
    if not any(found.weight != "note" for found in findings):
        findings.append(_nothing(row, told))
    log, tail = next(iter(told.logs.items()), ("", ()))
    waiting_now = waits(row) and job is not None
    return Explanation(
        id=row.job_id,
        token=row.token,
        name=row.name,
        site=row.site,
        state=status.state,
        findings=ordered(findings),
        position=position_of(told, job) if waiting_now and job else None,
        expected_start=job["start"] if waiting_now and job and job["start"] not in {"N/A", ""} else "",
        log=log,
        tail=tail[-TAIL_LINES:],
        silent=dict(told.silent),
        waits=waiting_now,
    )


def _nothing(row: Row, told: Told) -> Finding:
    state, evidence = row.status.state, row.status.reason
    silent = "; ".join(f"{name}: {why}" for name, why in told.silent.items())
    if state == COMPLETED:
        text = "it ended well"
    elif row.status.over:
        text = "nothing that is known to be a cause was found: the last lines of its log are below"
        text = text if told.logs else "nothing that is known to be a cause was found, and there is no log"
    elif waits(row):
        text = "it waits, and the site does not show it in the queue" + (f" ({silent})" if silent else "")
    else:
        text = f"it is {state}: nothing is wrong with it as far as the site tells"
    return Finding(name="nothing", text=text, evidence=evidence, origin="the store", weight="note")
