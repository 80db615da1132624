"""Child processes: a fresh one for each part, and for each peak of memory.

    python -m keras_senet.benchmark REQUEST RESULT

REQUEST is JSON, RESULT the file for the answer. Threads are pinned before TensorFlow
runs anything; what the child prints on standard output is its progress.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_senet.benchmark.machine import pin_threads

_KILLED = -9  # by SIGKILL
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}


class ChildError(RuntimeError):
    """A child process failed; the message is the last line that it wrote."""


def call(
    task: str,
    arguments: Mapping[str, Any],
    *,
    threads: int,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Runs a task in a child process.

    Args:
        task: "part" or "memory".
        arguments: JSON values for it.
        threads: Threads of TensorFlow.
        progress: Is given each line that the child prints.

    Returns:
        Its answer.

    Raises:
        ChildError: If it fails.
    """
    request = json.dumps({"task": task, "threads": threads, "arguments": arguments})
    with tempfile.TemporaryDirectory() as folder:
        result, errors = Path(folder, "result.json"), Path(folder, "errors")
        words = [sys.executable, "-m", __package__, request, str(result)]
        with (
            open(errors, "w", encoding="utf-8") as sink,
            subprocess.Popen(
                words,
                env={**os.environ, **_QUIET},
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                encoding="utf-8",
            ) as child,
        ):
            try:
                for line in child.stdout:
                    progress(line.rstrip())
            except BaseException:
                child.kill()
                raise
        if child.returncode == _KILLED:
            raise ChildError(
                "the process was killed, as happens where memory runs out "
                f"(exit code {child.returncode})"
            )
        if child.returncode:
            lines = errors.read_text("utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no word")
            raise ChildError(f"{last.strip()} (exit code {child.returncode})")
        return json.loads(result.read_text(encoding="utf-8"))


def main() -> None:
    """Does what the request says and writes the answer."""
    request, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    pin_threads(request["threads"])
    answer = _TASKS[request["task"]](threads=request["threads"], **request["arguments"])
    result.write_text(json.dumps(answer), encoding="utf-8")


def _part(*, threads, name, **options):
    from keras_senet.benchmark.running import Options, run_part

    result = run_part(name, Options(threads=threads, **options), print)
    return dataclasses.asdict(result)


def _memory(*, threads, subject, **options):
    from keras_senet.benchmark.parts import Subject
    from keras_senet.benchmark.running import measure_memory

    subject = Subject(**subject)
    return {"bytes": measure_memory(subject, threads=threads, **options)}


_TASKS = {"part": _part, "memory": _memory}
