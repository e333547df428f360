"""Training scripts on nodes of both clusters read through the runtime, which got there as one file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aifa_hpc.runtime.pack import write_runtime
from integration.conftest import SHAPES, SITES, User, make_user, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster

ROWS = 600
RANKS = 4
# Everything a rank reads is written down with its epoch. The first link waits in the middle of an epoch for the signal.
TRAIN = """
import json, os, sys, time
from pathlib import Path
from aifa_hpc.runtime import chain, finished, on_signal, place, shards, walltime

folder, here, link = Path(sys.argv[1]), place(), chain()[0]
saved = folder / f"checkpoint-{here.rank}.json"
state = json.loads(saved.read_text()) if saved.exists() else None
guard = on_signal(lambda: saved.write_text(json.dumps(state)))
print(json.dumps({"rank": here.rank, "world": here.world, "link": link, "node": os.environ["SLURMD_NODENAME"],
                  "resumed": state, "left": walltime()}), flush=True)
seen = open(folder / f"seen-{here.rank}.jsonl", "a")
for epoch in range(state["epoch"] if state else 0, 2):
    share = shards(folder / "data", seed=5, epoch=epoch)
    with share.batches(columns=["n"], size=10, resume=state) as batches:
        for number, batch in enumerate(batches):
            print(epoch, *batch["n"].to_pylist(), file=seen, flush=True)
            state = share.state(batches)
            while link == 0 and number == 5 and not guard.reached():
                time.sleep(0.1)
            if guard.reached():
                sys.exit(0)
    state = None
finished()
"""
# The order in which workers of a loader give their batches is theirs; each row must come once.
LOADER = """
import sys
from aifa_hpc.runtime import shards
from aifa_hpc.runtime.torch_data import ShareDataset
import torch

for workers in (0, 2):
    rows = []
    for rank in (0, 1):
        data = ShareDataset(shards(sys.argv[1], seed=1, rank=rank, world=2), size=16)
        for batch in torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers):
            assert batch["half"].dtype == torch.float64 and batch["pair"].shape == (len(batch["n"]), 2), batch
            rows += batch["n"].tolist()
    print("workers", workers, sorted(rows) == list(range(600)), flush=True)

share = shards(sys.argv[1], seed=1, rank=0, world=2)
loader = lambda data: torch.utils.data.DataLoader(data, batch_size=None)
whole = [n for batch in loader(ShareDataset(share, size=16)) for n in batch["n"].tolist()]
data = ShareDataset(share, size=16)
some = iter(loader(data))
read = [n for _ in range(3) for n in next(some)["n"].tolist()]
read += [n for batch in loader(ShareDataset(share, size=16, resume=data.state())) for n in batch["n"].tolist()]
print("resumed", read == whole)
"""
ARRIVING = """
import sys
from aifa_hpc.runtime import arriving, place, shards

print("waiting", place().rank, flush=True)
for path in arriving(sys.argv[1], timeout=120, interval=0.2):
    with shards(path, rank=0, world=1).batches(columns=["n"]) as batches:
        print("rows", *(n for batch in batches for n in batch["n"].to_pylist()), flush=True)
"""


@pytest.fixture(params=SITES)
def trainer(request: pytest.FixtureRequest, clusters: None, tmp_path: Path) -> User:
    """A user of each cluster whose data and runtime are there."""
    user = make_user(tmp_path, request.param, "openssh", mfa=False)
    (tmp_path / "job").mkdir()
    write_runtime(tmp_path / "job" / "runtime.zip")
    for name, text in {"train": TRAIN, "loader": LOADER, "arriving": ARRIVING}.items():
        (tmp_path / "job" / f"{name}.py").write_text(text)
    first = 0
    (tmp_path / "data").mkdir()
    for number, count in enumerate((1, 99, 0, 300, 200)):
        n = range(first, first + count)
        pairs = pa.FixedSizeListArray.from_arrays(
            pa.array([value for one in n for value in (one, -one)], pa.int64()), 2
        )
        table = pa.table({"n": pa.array(n, pa.int64()), "half": [one / 2 for one in n], "pair": pairs})
        pq.write_table(table, tmp_path / "data" / f"part {number}.parquet", row_group_size=70)
        first += count
    copy(user, "job")
    return user


def copy(user: User, name: str) -> None:
    """Brings a folder to the site."""
    ran = user.aifa("stage", "copy", f"{name}/", f"{user.site}:{user.folder}/{name}/", "--class", "open")
    assert 0 == ran.code, ran.err


def submit(user: User, kind: str, program: str, argument: str, *, more: str = "", **resources: Any) -> dict[str, Any]:
    """Submits a program of the job's folder and returns what the program says of the submission."""
    path = user.job("python3", f"{user.folder}/job/{program}.py", argument, kind=kind, name=program, **resources)
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - the helper returns text
        file.write(f"{more}\n[env]\nPYTHONPATH = {json.dumps(f'{user.folder}/job/runtime.zip')}\n")
    ran = user.aifa("submit", path, "--site", user.site, "--json")
    assert 0 == ran.code, ran.err
    found: dict[str, Any] = ran.json
    return found


def end_of(user: User, job: dict[str, Any]) -> tuple[str, str]:
    """Waits for the end; state and log."""
    log = user.aifa("logs", job["id"], "-f").out
    (shown,) = [one for one in user.aifa("jobs", "--all", "--json").json if one["id"] == job["id"]]
    return shown["state"], log


def test_a_chain_reads_every_row_once(trainer: User) -> None:
    """Two nodes read two epochs; stopped by a signal amid the first, on from there in the next link, then over."""
    copy(trainer, "data")
    chain = '[chain]\ntotal = "00:06:00"'
    job = submit(trainer, "srun", "train", trainer.folder, more=chain, nodes=2, tasks_per_node=2, time="00:02:00")
    until(lambda: int(trainer.ssh(f"cat {trainer.folder}/seen-* 2>/dev/null | wc -l")) == RANKS * 6)
    trainer.ssh(f"scancel --signal=USR1 {job['id']}")
    state, log = end_of(trainer, job)
    rows = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    seen = [list(map(int, line.split())) for line in trainer.ssh(f"cat {trainer.folder}/seen-*").splitlines()]

    assert "COMPLETED" == state, log
    assert {(link, rank, RANKS) for link in (0, 1) for rank in range(RANKS)} == {
        (row["link"], row["rank"], row["world"]) for row in rows
    }
    assert 2 == len({row["node"] for row in rows if row["link"] == 0})
    assert {None, 60} == {row["resumed"] and row["resumed"]["position"] for row in rows}
    tells = tuple(map(int, trainer.connect["slurm"].split(".")[:2])) >= (23, 2)  # SLURM_JOB_END_TIME
    assert all(0 < row["left"] and (row["left"] <= 120 or not tells) for row in rows)
    for epoch in (0, 1):
        assert list(range(ROWS)) == sorted(n for line in seen if line[0] == epoch for n in line[1:])


@pytest.mark.parametrize("trainer", [site for site in SITES if site == "jupiter"], indirect=True)
def test_loaders_of_pytorch(trainer: User) -> None:
    """Real PyTorch, without and with workers (the other cluster's PyTorch knows NumPy 1 only, its pyarrow NumPy 2)."""
    copy(trainer, "data")
    job = submit(trainer, "command", "loader", f"{trainer.folder}/data")

    assert ("COMPLETED", "workers 0 True\nworkers 2 True\nresumed True\n") == end_of(trainer, job)


def test_training_begins_before_all_is_there(trainer: User) -> None:
    """Ranks that started before the copy read its files between them, each row once, and end with it."""
    gpus = SHAPES[trainer.machine]["gpus_per_node"]
    job = submit(trainer, "srun", "arriving", f"{trainer.folder}/data", nodes=2, tasks_per_node=2, gpus_per_node=gpus)
    until(lambda: RANKS == user_log(trainer, job).count("waiting"))
    copy(trainer, "data")
    state, log = end_of(trainer, job)

    rows = [int(n) for line in log.splitlines() if line.startswith("rows") for n in line.split()[1:]]
    assert ("COMPLETED", list(range(ROWS))) == (state, sorted(rows)), log


def user_log(user: User, job: dict[str, Any]) -> str:
    """What a job has written until now."""
    return user.aifa("logs", job["id"]).out
