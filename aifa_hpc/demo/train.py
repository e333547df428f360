"""Trains softmax regression on shards of digits, data-parallel: every rank reads its share, gradients are summed.

Started once per task by srun, on one node or several; needs NumPy and pyarrow and no MPI: ranks meet at
``$MASTER_ADDR:$MASTER_PORT``. Rank 0 writes RESULT, a JSON file, when training is over::

    python train.py --data FOLDER --result FILE [--steps 150]

The rows whose number is a multiple of 5 within their shard are held out; accuracy is measured on them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import time
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

PATIENCE_SECONDS = 60.0
CLASSES = 10
HELD_OUT = 5
RATE = 0.5


class Ranks:
    """All ranks of the job; sums arrays over them through rank 0.

    Only raw numbers cross the wire (never pickles), and only ranks that read this job's key file are let in.
    """

    def __init__(self, folder: Path) -> None:
        self.rank = int(os.environ.get("SLURM_PROCID", "0"))
        self.size = int(os.environ.get("SLURM_NTASKS", "1"))
        self.peers: list[Connection] = []
        if self.size > 1:
            address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            attempt = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
            self._meet(address, folder / f".ranks-{attempt}.key")

    def _meet(self, address: tuple[str, int], key_file: Path) -> None:
        if self.rank == 0:
            key = secrets.token_bytes(32)
            with Listener((socket.gethostbyname(address[0]), address[1]), authkey=key, backlog=self.size) as listener:
                part = key_file.with_suffix(".part")
                part.touch(mode=0o600)
                part.write_bytes(key)
                part.rename(key_file)
                self.peers = [listener.accept() for _ in range(self.size - 1)]
            key_file.unlink()
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.peers = [Client(address, authkey=key_file.read_bytes())]
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of every rank's array, on every rank."""
        if self.size == 1:
            return values
        if self.rank:
            self.peers[0].send_bytes(values.tobytes())
            return np.frombuffer(self.peers[0].recv_bytes(), dtype=values.dtype).reshape(values.shape)
        total = values.copy()
        for peer in self.peers:
            total += np.frombuffer(peer.recv_bytes(), dtype=values.dtype).reshape(values.shape)
        for peer in self.peers:
            peer.send_bytes(total.tobytes())
        return total


def read_share(folder: Path, rank: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (rows, 65) in 0..1 with a constant 1, labels (rows,), and which rows are held out (rows,)."""
    shards = sorted(folder.glob("*.parquet"))[rank::size]
    if not shards:
        return np.zeros((0, 65)), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    tables = [pq.read_table(path) for path in shards]
    pixels = np.concatenate([np.stack(table["pixels"].to_numpy()) for table in tables]) / 16.0
    labels = np.concatenate([table["label"].to_numpy() for table in tables])
    held_out = np.concatenate([np.arange(len(table)) % HELD_OUT == 0 for table in tables])
    return np.hstack([pixels, np.ones((len(pixels), 1))]), labels, held_out


def train(ranks: Ranks, folder: Path, steps: int) -> dict[str, object]:
    """Full-batch gradient descent; returns what rank 0 reports."""
    pixels, labels, held_out = read_share(folder, ranks.rank, ranks.size)
    print(
        f"rank {ranks.rank} of {ranks.size} on {os.environ.get('SLURMD_NODENAME', socket.gethostname())}:"
        f" {len(labels)} rows",
        flush=True,
    )
    x, y = pixels[~held_out], labels[~held_out]
    rows = ranks.sum(np.array([len(y), len(labels)], dtype=np.float64))
    weights = np.zeros((65, CLASSES))
    losses = []
    for step in range(steps):
        scores = x @ weights
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(len(y)), y] + 1e-12).sum()
        chances[np.arange(len(y)), y] -= 1.0
        summed = ranks.sum(np.append((x.T @ chances).ravel(), loss))
        weights -= RATE * 10 * summed[:-1].reshape(weights.shape) / rows[0]
        losses.append(summed[-1] / rows[0])
        if ranks.rank == 0 and (step + 1) % 50 == 0:
            print(f"step {step + 1}: loss {losses[-1]:.4f}", flush=True)
    right = (pixels[held_out] @ weights).argmax(axis=1) == labels[held_out]
    tested = ranks.sum(np.array([right.sum(), held_out.sum()], dtype=np.float64))
    return {
        "rows": int(rows[1]),
        "ranks": ranks.size,
        "steps": steps,
        "loss_first": float(losses[0]),
        "loss_last": float(losses[-1]),
        "held_out": int(tested[1]),
        "accuracy": float(tested[0] / tested[1]),
        "weights_norm": float(np.linalg.norm(weights)),
    }


def main() -> None:
    """Entry point of a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    ranks = Ranks(options.result.parent)
    report = train(ranks, options.data, options.steps)
    if ranks.rank == 0:
        part = options.result.with_suffix(".part")
        part.write_text(json.dumps(report))
        part.rename(options.result)
        print(f"accuracy {report['accuracy']:.3f} on {report['held_out']} held-out rows", flush=True)


if __name__ == "__main__":
    main()
