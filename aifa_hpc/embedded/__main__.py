"""``python -m aifa_hpc.embedded ROOT PROGRAM ARGS...``: one of Slurm's programs, by hand."""

import sys

from .programs import main

main(sys.argv[1:])
