"""What importing the library and asking for help cost beyond Python's own start, in milliseconds.

    python integration/bench/startup.py [--runs 15]

Goals: ``import aifa_hpc`` under 80 ms, ``aifa --help`` under 250 ms. Medians of alternating runs, so that a drift of
the machine's speed hits all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

GOALS = {"import aifa_hpc": 80.0, "aifa --help": 250.0}
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import aifa_hpc": [sys.executable, "-c", "import aifa_hpc"],
    "aifa --help": [
        sys.executable,
        "-c",
        "import sys; from aifa_hpc.cli import main; sys.argv = ['aifa', '--help']; main()",
    ],
    "import aifa_hpc; connect": [sys.executable, "-c", "import aifa_hpc; aifa_hpc.connect"],
    "import click": [sys.executable, "-c", "import click"],
    "import fabric": [sys.executable, "-c", "import fabric"],
    "import pyarrow": [sys.executable, "-c", "import pyarrow"],
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, argv in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            times[name].append(1000 * (time.perf_counter() - begin))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = medians.pop("python")
    print(f"python itself            {base:7.1f} ms")
    for name, value in medians.items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"   goal {goal:.0f} ms: {'met' if value - base < goal else 'MISSED'}"
        print(f"{name:<24} {value - base:+7.1f} ms{verdict}")


if __name__ == "__main__":
    main()
