"""Caches of compilers and kernels on the node's own space, one folder for each process.

They are many small files that all ranks write at once: on a parallel file system that is slow, and the locks of MIOpen
and Triton do not hold there (LUMI user guide, "PyTorch"; ROCm documentation, "MIOpen: cache folders"). Downloaded
models are not among them: a node has no way to fetch them again, so ``HF_HOME`` and ``TORCH_HOME`` stay where they are.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

CACHES = {
    "MIOPEN_USER_DB_PATH": "miopen",
    "MIOPEN_CUSTOM_CACHE_DIR": "miopen",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_EXTENSIONS_DIR": "extensions",
    "PYTORCH_KERNEL_CACHE_PATH": "kernels",
    "HF_MODULES_CACHE": "huggingface-modules",
    "NUMBA_CACHE_DIR": "numba",
}
"""Variable to folder; each is read when its library first compiles, so set them before importing torch."""


def local_caches(
    folder: str | Path | None = None, *, environ: MutableMapping[str, str] | None = None
) -> dict[str, str]:
    """Puts caches on node-local space, where the user has not put them elsewhere; call it before importing torch.

    Args:
        folder: On the node's own space; by default the temporary folder. What is made there is removed
            when this process ends.
        environ: Variables; those of this process by default.

    Returns:
        The variables that were set.
    """
    env = os.environ if environ is None else environ
    wanted = {name: inside for name, inside in CACHES.items() if not env.get(name)}
    if not wanted:
        return {}
    base = tempfile.mkdtemp(prefix="aifa-caches-", dir=folder)  # mode 0700, and nobody can have made it before us
    atexit.register(_remove, base, os.getpid())
    done = {name: f"{base}/{inside}" for name, inside in wanted.items()}
    for path in done.values():
        Path(path).mkdir(exist_ok=True)
    env.update(done)
    return done


def _remove(base: str, owner: int) -> None:
    """A node's own space is often its memory, and stays when the job is gone. Forked workers leave it alone."""
    if os.getpid() == owner:
        shutil.rmtree(base, ignore_errors=True)
