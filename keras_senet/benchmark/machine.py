"""The machine, its threads and its memory, as far as a figure depends on them."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

# From the newest on; the first that the processor has names its vector unit.
_INSTRUCTIONS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512_vnni": "AVX-512 with VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "sve": "SVE",
    "asimd": "NEON",
}
_PACKAGES = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "numpy",
    "torch",
    "timm",
    "image-classifiers",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What timings depend on.

    Attributes:
        cores: Processor cores that the process may use.
        instructions: The processor's widest vector instructions.
        threads: Threads of each engine: TensorFlow's within an operation and between
            operations, LiteRT's, torch's.
    """

    cores: int
    instructions: str
    threads: int


def describe_machine(threads: int | None = None) -> Machine:
    """Describes this machine.

    Args:
        threads: Threads of each engine; None is one a core.

    Raises:
        ValueError: If `threads` is not a positive integer.
    """
    cores = _cores()
    threads = cores if threads is None else threads
    if threads < 1:
        raise ValueError(
            f"`threads` must be a positive integer. Received: threads={threads!r}"
        )
    return Machine(cores=cores, instructions=_instructions(), threads=threads)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _instructions() -> str:
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        words = set()
    for flag, name in _INSTRUCTIONS.items():
        if flag in words:
            return name
    return platform.machine()


def versions() -> dict[str, str]:
    """Returns the versions of the packages whose speed is measured, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load() -> float:
    """Returns how many processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def pin_threads(threads: int) -> None:
    """Gives TensorFlow so many threads, within an operation and between operations.

    Only before TensorFlow has run anything; LiteRT and torch get theirs where a
    network is opened.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def peak_memory() -> int:
    """Returns the largest resident memory that this process has had, in bytes."""
    if sys.platform == "linux":
        # Not getrusage: there a child begins with the peak of its parent.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (line,) = [x for x in status.splitlines() if x.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
