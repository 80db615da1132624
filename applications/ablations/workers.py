"""Trainings one after another, or some at a time in processes of their own."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from grid import Work

# Two processes on a core each do more than one process with two threads.
_ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


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
