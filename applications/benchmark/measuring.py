"""From a part's rows to its figures, in processes of their own."""

import dataclasses
import fnmatch
import functools
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import keras
import numpy as np
from forms import FORMS
from networks import NETWORKS, MissingPeer
from parts import PARTS, Group, Part, Subject
from report import Result, versions

from keras_senet import SqueezeExcite, fold
from keras_senet.benchmark import THREADS, in_turn, load

# Relative error between forms of one network; folding 50 layers moves 1e-5.
_TOLERANCE = 1e-3

# Steps after which a training step's memory no longer grows.
_MEMORY_STEPS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a part is measured.

    Attributes:
        threads: Threads of each engine.
        smoke: Whether networks are toys, and all is measured in this process.
        rounds: How many turns each subject gets; None is the part's own number.
        only: Measure only subjects whose names match this shell pattern.
    """

    threads: int
    smoke: bool = False
    rounds: int | None = None
    only: str = "*"


def measure(name: str, options: Options) -> Result:
    """Measures a part; prints a line for each thing that takes a while.

    A subject that fails is skipped; so is all that shares a process with one that ends
    it, unless nothing is left.

    Raises:
        ValueError: If no subject matches.
        Exception: The last failure, if nothing is left: a RuntimeError if forms of one
            network do not agree, a BrokenProcessPool if a process is killed, as happens
            where memory runs out, or what the network's package raises.
    """
    matching([name], options.only)
    part, figures, skipped, failure = PARTS[name], {}, {}, None
    groups = _select(part, options)
    processes = [groups]
    if part.measures == "memory":  # each subject has a process of its own
        processes = [[g._replace(subjects=(s,))] for g in groups for s in g.subjects]
    elif part.apart:
        processes = [[group] for group in groups]
    busy, start = load(), time.perf_counter()
    for together in processes:
        try:
            found = _run(part, together, options, skipped)
        except Exception as error:
            failure, reason = error, _one_line(error)
            names = [subject.name for group in together for subject in group.subjects]
            skipped |= dict.fromkeys(names, reason)
            print(f"  skipped {', '.join(names)}: {reason}", flush=True)
        else:
            figures |= found
    if failure and not figures:
        raise failure
    return Result(
        figures=figures,
        skipped=skipped,
        load=busy,
        seconds=time.perf_counter() - start,
        versions=versions(),
    )


def matching(parts: Sequence[str], only: str) -> list[str]:
    """Returns those of some parts that have a subject that matches a shell pattern.

    Raises:
        ValueError: If none has one.
    """
    names = {part: _names(PARTS[part]) for part in parts}
    found = [part for part in parts if fnmatch.filter(names[part], only)]
    if not found:
        raise ValueError(
            f"`only` must match a subject of {', '.join(parts)}: "
            f"{'; '.join(sorted(set().union(*names.values())))}. Received: "
            f"only={only!r}"
        )
    return found


def _names(part: Part) -> set[str]:
    return {subject.name for group in part.groups for subject in group.subjects}


def _select(part: Part, options: Options) -> list[Group]:
    kept = set(fnmatch.filter(_names(part), options.only))
    groups = [
        group._replace(subjects=tuple(s for s in group.subjects if s.name in kept))
        for group in part.groups
    ]
    return [group for group in groups if group.subjects]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _run(part, groups, options, skipped):
    rounds = options.rounds or (2 if options.smoke else part.rounds)
    if part.measures == "memory":
        return {
            (subject.name, group.batch): tuple(
                float(_apart(options, peak_growth, subject, group.batch, options))
                for _ in range(rounds)
            )
            for group in groups
            for subject in group.subjects
        }
    function = kernels if part.measures == "kernels" else times
    call = function if options.smoke else functools.partial(_apart, options, function)
    found, missing = call(groups, options, rounds)
    skipped |= missing
    return found


def _apart(options, function, *arguments):
    """Calls a function in a fresh process whose threads are fixed before it runs."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, _fix_threads, (options.threads,)) as pool:
        return pool.submit(function, *arguments).result()


def _fix_threads(threads):
    # TensorFlow reads them once, when it lists its devices.
    os.environ |= dict.fromkeys(THREADS, str(threads))


def times(groups: list[Group], options: Options, rounds: int) -> tuple[dict, dict]:
    """Times the subjects of each group in turn.

    Returns:
        The seconds of each subject and batch size, and why subjects were skipped.
    """
    networks, opened, figures, skipped = {}, {}, {}, {}

    def network(subject, *, own):
        build = functools.partial(NETWORKS[subject.network].build, options.smoke)
        if own:
            return build()
        if subject.network not in networks:
            networks[subject.network] = build()
        return networks[subject.network]

    def call(subject, batch):
        form = FORMS[subject.form]
        key = subject.network, subject.form
        if key not in opened:
            print(f"  preparing {subject.name}", flush=True)
            model = network(subject, own=form.changes)
            opened[key] = form.open(model, options.threads)
        images = NETWORKS[subject.network].images(batch, smoke=options.smoke)
        return opened[key](images)

    for group in groups:
        calls = {}
        for subject in group.subjects:
            try:
                prepared = call(subject, group.batch)
                prepared()
            except Exception as error:  # a peer's, too: the others are worth their time
                reason = _one_line(error)
                kind = "" if isinstance(error, MissingPeer) else type(error).__name__
                skipped[subject.name] = f"{kind}: {reason}" if kind else reason
            else:
                calls[subject.name] = prepared
        _check_agreement(group, calls)
        print(f"  batch {group.batch}: {rounds} rounds of {len(calls)}", flush=True)
        if calls:
            seconds = {"turn_seconds": 0.0} if options.smoke else {}
            measured = in_turn(calls, rounds=rounds, **seconds)
            figures |= {(name, group.batch): x for name, x in measured.items()}
    return figures, skipped


def _check_agreement(group, calls):
    """Only what computes the same is compared: forms of one network must agree."""
    expected = {}
    for subject in group.subjects:
        if subject.name not in calls or not FORMS[subject.form].exact:
            continue
        scores = calls[subject.name]()
        other, reference = expected.setdefault(subject.network, (subject.name, scores))
        error = np.max(np.abs(scores - reference)) / np.max(np.abs(reference))
        if not error <= _TOLERANCE:
            raise RuntimeError(
                f"{subject.name!r} and {other!r} must compute the same. Received: "
                f"outputs with a relative error of {error:.1e}."
            )


def peak_growth(subject: Subject, batch: int, options: Options) -> int:
    """Returns by how many bytes training steps raise this process' peak memory.

    Only the first call in a process tells: a peak never falls.
    """
    print(f"  training steps of {subject.name}", flush=True)
    network, before = NETWORKS[subject.network], peak_memory()
    opened = FORMS[subject.form].open(network.build(options.smoke), options.threads)
    call = opened(network.images(batch, smoke=options.smoke))
    for _ in range(_MEMORY_STEPS):
        call()
    return peak_memory() - before


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


def kernels(groups: list[Group], options: Options, rounds: int) -> tuple[dict, dict]:
    """Counts the values of SE's kernels, before or after folding.

    Folding leaves all other kernels as large as they are, so what it takes away is
    SE's.
    """
    figures = {}
    for group in groups:
        for subject in group.subjects:
            model = NETWORKS[subject.network].build(options.smoke)
            blocks = [x for x in model.layers if isinstance(x, SqueezeExcite)]
            count = sum(map(_kernel_values, blocks))
            if subject.form == "folded":
                count -= _kernel_values(model) - _kernel_values(fold(model))
            figures[subject.name, group.batch] = (float(count),)
    return figures, {}


def _kernel_values(layer: keras.Layer) -> int:
    return sum(math.prod(v.shape) for v in layer.weights if len(v.shape) > 1)
