"""Measures what the first second costs: commands that only talk, and the import.

    python scripts/measure_start.py [ROUNDS]

Prints the median CPU seconds, user and system, of processes that take turns, beside the
goal. The exit code is 1 where a goal is missed. Run it while nothing else runs.
"""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from keras_senet.cli.command import VERBS

ROOT = Path(__file__).parents[1]
COMMAND = "import sys; from keras_senet_command import main; sys.exit(main())"
WORDS = ["--version", "--help", "nonsense", "list", "list --weights"]
WORDS += [f"{verb} --help" for verb in (*VERBS, "benchmark data")]
SECONDS, RATIO = 0.6, 1.05


def cpu_seconds(*arguments: str) -> float:
    """Returns what a Python process with these arguments uses.

    Raises:
        RuntimeError: If it ends with another exit code than 0, or for a usage error 2.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if done.returncode != (2 if "nonsense" in arguments else 0):
        raise RuntimeError(
            f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-300:]}"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(rounds: int = 5) -> int:
    """Measures all, prints the table, returns the exit code."""
    subjects = {f"keras-senet {w}": ("-c", COMMAND, *w.split()) for w in WORDS}
    for names in ("keras", "keras_senet, keras", "keras_senet"):
        subjects[f"import {names}"] = ("-c", f"import {names}")
    turns = [{n: cpu_seconds(*a) for n, a in subjects.items()} for _ in range(rounds)]
    found = {name: statistics.median(t[name] for t in turns) for name in subjects}
    for name, seconds in found.items():
        goal = f"at most {SECONDS}" if name.startswith("keras-senet") else ""
        print(f"{name:36} {seconds:6.2f} s  {goal}")
    ratio = found["import keras_senet, keras"] / found["import keras"]
    print(f"{'both imports / import keras':36} {ratio:6.3f}    at most {RATIO}")
    slow = [n for n, s in found.items() if n.startswith("keras-s") and s > SECONDS]
    return int(bool(slow) or ratio > RATIO)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
