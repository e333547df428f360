"""What a training script imports on the compute node: ranks, time left, signals, and the rows this rank reads.

Standard library only at import; pyarrow when reading begins, PyTorch only in :mod:`aifa_hpc.runtime.torch_data`.
"""

from aifa_hpc.runtime.arriving import arriving
from aifa_hpc.runtime.caches import local_caches
from aifa_hpc.runtime.ending import Guard, chain, finished, on_signal, walltime
from aifa_hpc.runtime.ranks import Place, local_rank, master, place, rank, world
from aifa_hpc.runtime.shards import Share, shards

__all__ = [
    "Guard",
    "Place",
    "Share",
    "arriving",
    "chain",
    "finished",
    "local_caches",
    "local_rank",
    "master",
    "on_signal",
    "place",
    "rank",
    "shards",
    "walltime",
    "world",
]
