"""From a part's rows to its figures, in this process."""

import dataclasses
import fnmatch
import gc
import math
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from keras_senet.benchmark import children
from keras_senet.benchmark.forms import FORMS
from keras_senet.benchmark.machine import load, peak_memory, versions
from keras_senet.benchmark.networks import NETWORKS
from keras_senet.benchmark.parts import PARTS, Group, Part, PartName, Subject
from keras_senet.benchmark.peers import MissingPeer
from keras_senet.benchmark.results import Measurement, PartResult
from keras_senet.benchmark.timing import TURN_SECONDS, in_turn
from keras_senet.layers import SqueezeExcite

# Relative error between forms of one network; folding 50 layers moves 1e-5.
_TOLERANCE = 1e-3

# Steps after which a training step's memory no longer grows.
_MEMORY_STEPS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a part is measured.

    Attributes:
        threads: Threads of each engine.
        toy: Whether networks are toys.
        rounds: How many turns each subject gets; None is the part's own number.
        only: Measure only subjects whose names match this shell pattern.
        within: And this one: the subjects of this process.
    """

    threads: int
    toy: bool = False
    rounds: int | None = None
    only: str = "*"
    within: str = "*"

    def __post_init__(self):
        if self.rounds is not None and self.rounds < 1:
            raise ValueError(
                f"`rounds` must be a positive integer. Received: rounds={self.rounds!r}"
            )


Progress = Callable[[str], None]


def run_part(
    name: PartName, options: Options, progress: Progress = lambda line: None
) -> PartResult:
    """Measures one part in this process, whose threads are as they are.

    Args:
        name: A key of `PARTS`.
        options: How it is measured.
        progress: Is given a line for each thing that takes a while.

    Raises:
        ValueError: If no subject matches, or Keras' backend is not TensorFlow.
        RuntimeError: If forms of one network do not agree.
    """
    part = PARTS[name]
    if keras.config.backend() != "tensorflow":
        raise ValueError(
            "The benchmark needs Keras' tensorflow backend. Received: "
            f"{keras.config.backend()!r}. Set KERAS_BACKEND=tensorflow."
        )
    groups = _select(part, options)
    busy, start = load(), time.perf_counter()
    measure = {"time": _times, "memory": _memory, "kernels": _kernels}[part.measures]
    skipped = {}
    measurements = measure(part, groups, options, skipped, progress)
    return PartResult(
        measurements=tuple(measurements),
        skipped=skipped,
        versions=versions(),
        load=busy,
        seconds=time.perf_counter() - start,
    )


def measure(
    name: PartName, options: Options, progress: Progress = lambda line: None
) -> PartResult:
    """Measures a part: in fresh processes with threads pinned, toys in this one.

    Where a part has several processes and one fails, its subjects are skipped. The
    arguments are those of `run_part`.

    Raises:
        RuntimeError: If the process fails, or each of several.
    """
    if options.toy:
        return run_part(name, options, progress)
    part = PARTS[name]
    _select(part, options)
    results, skipped, failure = [], {}, None
    for pattern in part.processes:
        inner = dataclasses.replace(options, within=pattern)
        names = _matching(part, inner)
        if not names:
            continue
        arguments = {**dataclasses.asdict(inner), "name": name}
        threads = arguments.pop("threads")
        try:
            answer = children.call(
                "part", arguments, threads=threads, progress=progress
            )
        except children.ChildError as error:
            failure = error
            skipped |= dict.fromkeys(names, str(error))
            progress(f"skipped {', '.join(names)}: {error}")
            continue
        results.append(PartResult.from_json(answer))
    if not results:
        raise failure
    return _joined(results, skipped)


def _joined(results, skipped):
    first = results[0]
    return dataclasses.replace(
        first,
        measurements=tuple(m for result in results for m in result.measurements),
        skipped=skipped | {k: v for r in results for k, v in r.skipped.items()},
        seconds=sum(result.seconds for result in results),
    )


def _matching(part: Part, options: Options) -> list[str]:
    """The names of the subjects that are wanted."""
    names = dict.fromkeys(s.name for group in part.groups for s in group.subjects)
    patterns = options.only, options.within
    return [n for n in names if all(fnmatch.fnmatch(n, p) for p in patterns)]


def _select(part: Part, options: Options) -> list[Group]:
    names = _matching(part, options)
    if not names:
        known = sorted({s.name for group in part.groups for s in group.subjects})
        raise ValueError(
            f"`only` must match a subject of {part.title!r}: {'; '.join(known)}. "
            f"Received: only={options.only!r}"
        )
    groups = []
    for group in part.groups:
        kept = tuple(s for s in group.subjects if s.name in names)
        if kept:
            groups.append(dataclasses.replace(group, subjects=kept))
    return groups


def _times(part, groups, options, skipped, progress):
    workshop = _Workshop(options, skipped, progress)
    rounds = options.rounds or (2 if options.toy else part.rounds)
    for i, group in enumerate(groups):
        calls = workshop.calls(group)
        _check_agreement(group, calls)
        progress(f"batch {group.batch}: {rounds} rounds of {len(calls)} subjects")
        if calls:
            seconds = 0.0 if options.toy else TURN_SECONDS
            times = in_turn(calls, rounds=rounds, turn_seconds=seconds)
            for name, samples in times.items():
                yield Measurement(subject=name, batch=group.batch, samples=samples)
        workshop.keep(groups[i + 1 :])


class _Workshop:
    """Networks and their opened forms, kept as long as a later group needs them."""

    def __init__(self, options, skipped, progress):
        self.options, self.skipped, self.progress = options, skipped, progress
        self.networks, self.opened = {}, {}

    def calls(self, group: Group) -> dict[str, Callable[[], np.ndarray]]:
        """Returns the calls of a group's subjects by name; notes what is skipped."""
        calls = {}
        for subject in group.subjects:
            if subject.name in self.skipped:
                continue
            try:
                opened = self._open(subject)
            except MissingPeer as error:
                self.skipped[subject.name] = str(error)
                continue
            images = random_images(subject, group.batch, toy=self.options.toy)
            calls[subject.name] = opened(images)
        return calls

    def keep(self, groups: Sequence[Group]) -> None:
        """Drops what none of these groups needs."""
        subjects = [subject for group in groups for subject in group.subjects]
        networks = {subject.network for subject in subjects}
        forms = {(subject.network, subject.form) for subject in subjects}
        self.networks = {k: v for k, v in self.networks.items() if k in networks}
        self.opened = {k: v for k, v in self.opened.items() if k in forms}
        gc.collect()

    def _open(self, subject: Subject):
        key = subject.network, subject.form
        if key not in self.opened:
            self.progress(f"preparing {subject.name}")
            form = FORMS[subject.form]
            network = self._build(subject) if form.changes else self._shared(subject)
            self.opened[key] = form.open(network, self.options.threads)
        return self.opened[key]

    def _shared(self, subject):
        if subject.network not in self.networks:
            self.networks[subject.network] = self._build(subject)
        return self.networks[subject.network]

    def _build(self, subject):
        return NETWORKS[subject.network].build(self.options.toy)


def random_images(subject: Subject, batch: int, *, toy: bool) -> np.ndarray:
    """Returns normalised noise for a subject, float32 (batch, H, W, C).

    A toy gets two images whatever the batch, so that it is traced once.
    """
    shape = NETWORKS[subject.network].image_shape(toy=toy)
    count = min(batch, 2) if toy else batch
    return np.random.default_rng(0).standard_normal((count, *shape), "float32")


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


def _memory(part, groups, options, skipped, progress):
    for group in groups:
        for subject in group.subjects:
            samples = []
            for _ in range(options.rounds or part.rounds):
                progress(f"a training process of {subject.name}")
                arguments = {"subject": dataclasses.asdict(subject)}
                arguments |= {"batch": group.batch, "toy": options.toy}
                answer = children.call("memory", arguments, threads=options.threads)
                samples.append(float(answer["bytes"]))
            yield Measurement(
                subject=subject.name, batch=group.batch, samples=tuple(samples)
            )


def measure_memory(subject: Subject, *, batch: int, threads: int, toy: bool) -> int:
    """Returns by how many bytes training steps raise this process' peak memory.

    Only the first call in a process tells: a peak never falls.
    """
    before = peak_memory()
    network = NETWORKS[subject.network].build(toy)
    opened = FORMS[subject.form].open(network, threads)
    call = opened(random_images(subject, batch, toy=toy))
    for _ in range(_MEMORY_STEPS):
        call()
    return peak_memory() - before


def _kernels(part, groups, options, skipped, progress):
    for group in groups:
        for subject in group.subjects:
            progress(f"counting {subject.name}")
            model = NETWORKS[subject.network].build(options.toy)
            count = se_kernel_values(model, folded=subject.form == "folded")
            yield Measurement(
                subject=subject.name, batch=group.batch, samples=(float(count),)
            )


def se_kernel_values(model: keras.Model, *, folded: bool) -> int:
    """Returns how many values SE's kernels have, before or after folding.

    Folding leaves all other kernels as large as they are, so what it takes away is
    SE's.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    before = sum(map(_kernel_values, blocks))
    if not folded:
        return before
    from keras_senet.surgery import fold

    return before - (_kernel_values(model) - _kernel_values(fold(model)))


def _kernel_values(layer) -> int:
    return sum(math.prod(v.shape) for v in layer.weights if len(v.shape) > 1)
