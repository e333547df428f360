"""Writes metrics of all jobs for Prometheus' node exporter (its textfile collector), renamed into place as a whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from aifa_hpc.errors import DeliveryError
from aifa_hpc.tracker.groups import collapse
from aifa_hpc.tracker.sinks.base import Sink

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from aifa_hpc.tracker.records import Row
    from aifa_hpc.tracker.sinks.base import Patience
    from aifa_hpc.tracker.store import Store

_HOUR = 3600.0


class Prometheus(Sink):
    """A file with what is known now.

    Args:
        name: As the user named it.
        path: The file, ending in ``.prom``; everybody may read it.
    """

    kind = "prometheus"

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path

    def deliver(self, store: Store, *, now: datetime.datetime, patience: Patience) -> int:
        del patience
        data = metrics(store.rows(), store.answers(), now=now).encode()
        try:
            # One name, not a random one: what a killed writer leaves is written over.
            part = self._path.with_name(f".{self._path.name}.part")
            part.write_bytes(data)
            part.chmod(0o644)  # the exporter is another user
            part.replace(self._path)
        except OSError as error:
            raise DeliveryError(
                f"metrics cannot be written to {self._path}: {error.strerror}.",
                hint="Make the folder, or free space there; they are written anew the next time.",
            ) from error
        return 0


def metrics(rows: Sequence[Row], answers: Mapping[str, datetime.datetime], *, now: datetime.datetime) -> str:
    """The metrics in Prometheus' text format.

    Args:
        rows: All remembered submissions.
        answers: When each site last answered.
        now: The time.
    """
    jobs = Counter((row.site, row.status.state) for row in collapse(rows))
    billed: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in rows:
        if row.rate is not None:
            billed[row.site, row.unit] += row.rate * (row.status.elapsed_seconds or 0) / _HOUR
    lines = [
        *_metric("aifa_jobs", "Remembered jobs by site and last known state.", ("site", "state"), jobs.items()),
        *_metric(
            "aifa_billed_hours",
            "Units (GPU-h or core-h) that the last runs of remembered jobs are billed.",
            ("site", "unit"),
            billed.items(),
        ),
        *_metric(
            "aifa_last_answer_timestamp_seconds",
            "When the site last told about jobs.",
            ("site",),
            (((site,), at.timestamp()) for site, at in answers.items()),
        ),
        *_metric(
            "aifa_last_answer_age_seconds",
            "How old the site's last answer was when this file was written.",
            ("site",),
            (((site,), (now - at).total_seconds()) for site, at in answers.items()),
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _metric(
    name: str, help_text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> list[str]:
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    for words, value in sorted(values):
        shown = ",".join(f'{label}="{_escaped(word)}"' for label, word in zip(labels, words, strict=True))
        lines.append(f"{name}{{{shown}}} {value:.15g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
