"""Trainings one after another, or some at a time in processes of their own."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import tyro
from grid import Work

from keras_senet.training import TrainingStopped

# Two processes on a core each do more than one process with two threads.
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def call(command: type) -> None:
    """Runs a program with the words of its command line; an error becomes one line.

    Args:
        command: A dataclass of the program's options, with a `run`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        tyro.cli(command).run()
    except TrainingStopped as stop:
        print(stop)
        sys.exit(143)  # 128 and the number of SIGTERM, as shells have it
    except (ValueError, OSError, BrokenProcessPool) as error:
        sys.exit(f"error: {error}")


def finish(
    works: Sequence[Work], jobs: int, output: Path, write: Callable[[], Any]
) -> None:
    """Does what is left of some trainings, and reports after each.

    Args:
        works: The trainings.
        jobs: How many at a time, as for `run_all`.
        output: The folder that they all lie in.
        write: Writes what is known so far.

    Raises:
        ValueError: If `jobs` is not positive, or a training is refused.
    """
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1. Received: jobs={jobs}")
    left = [work for work in works if not work.is_done()]
    done = len(works) - len(left)
    print(f"{done} of {len(works)} trainings were done before", flush=True)
    for number, work in enumerate(run_all(left, jobs), done + 1):
        name = work.folder.relative_to(output)
        print(f"{number}/{len(works)}  {name}", flush=True)
        write()
    if not left:
        write()


def run_all(works: Sequence[Work], jobs: int) -> Iterator[Work]:
    """Does the trainings and yields each when it is done.

    Args:
        works: The trainings.
        jobs: How many at a time. More than one get a process with one thread each,
            and end with this process.

    Raises:
        ValueError: If one of them is refused; those that run are waited for.
        concurrent.futures.process.BrokenProcessPool: If a process is killed.
    """
    if jobs == 1:
        for work in works:
            work.run()
            yield work
        return
    os.environ.update(_ONE_THREAD)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, initializer=_end_with_parent) as pool:
        futures = {pool.submit(work.run): work for work in works}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent():
    """Ends this process when the one that started it is gone."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
