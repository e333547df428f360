"""Shell that questions to a site share: a clean environment, and sections that do not hide each other's failures."""

from __future__ import annotations

CLEAN = """
for name in $(env | sed -n -E 's/^((SBATCH|SQUEUE|SINFO|SCONTROL)_[A-Z0-9_]*)=.*/\\1/p'); do
  unset "$name"
done
unset SLURM_TIME_FORMAT SLURM_CLUSTERS SACCT_FEDERATION SACCT_LOCAL
export SLURM_BITSTR_LEN=0
"""
"""Drops what a login shell may set to change Slurm's answers: ``SBATCH_ACCOUNT`` and its like win over the script's own
lines (sbatch(1) INPUT ENVIRONMENT VARIABLES), ``SQUEUE_PARTITION`` hides jobs, ``SLURM_CLUSTERS`` asks another cluster,
the time format changes times, and long array lists are cut off (squeue(1) ENVIRONMENT VARIABLES)."""

ASK = """
ask() {
  echo "aifa: section $1"
  shift
  { said=$("$@" 2>&1 >&3 3>&- < /dev/null); code=$?; } 3>&1
  echo
  printf '%s\\n' "$said" | sed 's/^/aifa: said /'
  echo "aifa: end $code"
}
"""
"""``ask NAME PROGRAM...``: a section with what it printed, what it said on standard error, and its exit code."""
