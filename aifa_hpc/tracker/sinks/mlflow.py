"""Puts a job's state on a run of MLflow: the run that the job itself logs to, or one of its own.

A job that names its run (``MLFLOW_RUN_ID`` in ``[env]``) has its state there as tags, beside what training logs. Any
other gets a run that is found by its token, and that ends when the job does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aifa_hpc.errors import DeliveryError
from aifa_hpc.slurm.states import COMPLETED
from aifa_hpc.tracker.groups import whole
from aifa_hpc.tracker.sinks.base import EventSink, key_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from aifa_hpc.tracker.records import Event, Row
    from aifa_hpc.tracker.store import Store

logger = logging.getLogger(__name__)

_TOKEN = "aifa.token"  # noqa: S105 - the name of a tag
_HOUR = 3600.0
_GONE = "RESOURCE_DOES_NOT_EXIST"
_ENDS = {COMPLETED: "FINISHED", "CANCELLED": "KILLED"}


class Mlflow(EventSink):
    """A tracking server or store.

    Args:
        name: As the user named it.
        uri: Where it is; what MLflow itself is set to when empty.
        experiment: Experiment of the runs that are made here.
        since: Earlier events are passed over.
    """

    kind = "mlflow"

    def __init__(
        self, name: str, *, uri: str = "", experiment: str = "aifa", since: datetime.datetime | None = None
    ) -> None:
        super().__init__(name, since=since)
        self._uri = uri
        self._experiment = experiment

    def send(self, events: Sequence[Event], store: Store) -> None:
        try:
            from mlflow import MlflowClient  # noqa: PLC0415 - heavy, and optional
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        except ImportError as error:
            raise DeliveryError(
                f"sink {self.name!r} needs MLflow, which is not installed.", hint="pip install 'aifa_hpc[mlflow]'"
            ) from error
        try:
            client = MlflowClient(tracking_uri=self._uri or None)
            for event in events:
                row = store.get(event.token)
                self._tell(client, event, whole(store.parts(row.part_of or row.token)))
        except MlflowException as error:
            if getattr(error, "error_code", "") == _GONE:
                logger.warning("sink %s: a run is gone, so nobody can be told of it: %s", self.name, error)
                return
            raise DeliveryError(f"MLflow does not take events: {error}", passing=True) from error
        except OSError as error:
            raise DeliveryError(f"MLflow cannot be reached: {error}", passing=True) from error

    def _tell(self, client: Any, event: Event, row: Row) -> None:
        run = row.run or self._own_run(client, row)
        tags = {
            _TOKEN: row.token,
            "aifa.site": row.site,
            "aifa.job_id": row.job_id or "",
            "aifa.state": row.status.state,
            "aifa.reason": row.status.reason,
            "aifa.event": key_of(event),
        }
        for tag, value in tags.items():
            client.set_tag(run, tag, value)
        if not row.status.over:
            return
        moment = int(row.changed_at.timestamp() * 1000)
        seconds = row.status.elapsed_seconds or 0
        values = {"aifa.elapsed_seconds": float(seconds)}
        if row.rate is not None:
            values[f"aifa.{row.unit}"] = row.rate * seconds / _HOUR
        for metric, number in values.items():
            client.log_metric(run, metric, number, timestamp=moment, step=0)  # told again, it is the same point
        if not row.run:
            client.set_terminated(run, status=_ENDS.get(row.status.state, "FAILED"), end_time=moment)

    def _own_run(self, client: Any, row: Row) -> str:
        """The run that stands for this job, made when there is none."""
        found = client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found is not None else client.create_experiment(self._experiment)
        runs = client.search_runs([experiment], filter_string=f"tags.`{_TOKEN}` = '{row.token}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
        started = int(row.created_at.timestamp() * 1000)
        made = client.create_run(experiment, start_time=started, tags={_TOKEN: row.token}, run_name=row.name)
        return str(made.info.run_id)
