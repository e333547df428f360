"""Trains softmax regression on shards of digits, data-parallel: every rank reads its share, gradients are summed.

Started once per task by srun, on one node or several; needs NumPy, pyarrow and the runtime of this library, which may
be one file (``PYTHONPATH=aifa_runtime.zip``), and no MPI: ranks meet at ``$MASTER_ADDR:$MASTER_PORT``. Rank 0 writes
RESULT, a JSON file, when training is over::

    python train.py --data FOLDER --result FILE [--steps 150]

Every fifth row of the data set is held out, whatever the number of ranks; accuracy is measured on these.
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

from aifa_hpc.runtime import place, shards

PATIENCE_SECONDS = 60.0
CLASSES = 10
HELD_OUT = 5
RATE = 0.5


class Ranks:
    """All ranks of the job; sums arrays over them through rank 0.

    Only raw numbers cross the wire (never pickles), and only ranks that read this job's key file are let in.
    """

    def __init__(self, folder: Path) -> None:
        here = place()
        self.rank, self.size = here.rank, here.world
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


def read_share(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (rows, 65) in 0..1 with a constant 1, labels (rows,), and which rows are held out (rows,)."""
    share = shards(folder)
    pixels, labels = [np.zeros((0, 64))], [np.zeros(0, dtype=np.int64)]
    with share.batches(columns=["pixels", "label"]) as batches:
        for batch in batches:
            pixels.append(batch["pixels"].flatten().to_numpy().reshape(batch.num_rows, 64))
            labels.append(batch["label"].to_numpy())
    read = np.concatenate(pixels) / 16.0
    held_out = np.arange(share.first, share.first + len(read)) % HELD_OUT == 0
    return np.hstack([read, np.ones((len(read), 1))]), np.concatenate(labels), held_out


def train(ranks: Ranks, folder: Path, steps: int) -> dict[str, object]:
    """Full-batch gradient descent; returns what rank 0 reports."""
    pixels, labels, held_out = read_share(folder)
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
