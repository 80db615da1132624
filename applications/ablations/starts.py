"""How SE should start and learn: ways chosen on held-out images, then one long table.

    python applications/ablations/starts.py --output runs/starts
    python applications/ablations/starts.py --output runs/starts --best identity-rate-10

The first line trains SE-ResNet-20 in every way, for a short time and on some images of
CIFAR-10, and judges on held-out ones; the test images are not read. The second line
compares the best way with the plain network, the paper's start and the identity: all
45,000 training images, 40 epochs, the test images once. It also measures what each
network loses without its SE: a network that loses nothing does not use it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import evidence
import grid
import keras
import report
import workers

from keras_senet import SqueezeExcite
from keras_senet.training import Recipe
from keras_senet.utils.files import atomic_path
from keras_senet.utils.pages import write_block

BASE = dataclasses.replace(
    evidence.BASES["cifar10"],
    train_split="train[:90%]",
    validation_split="train[90%:]",
    limit=None,
    epochs=40,
)
# The last fiftieth is evaluated after each epoch; HELD_OUT judges the last weights.
SHORT = dataclasses.replace(
    BASE, validation_split="train[98%:]", limit=10_000, epochs=10
)
HELD_OUT = "train[90%:]"


class Drawn(keras.callbacks.Callback):
    """Draws SE's last kernels as other kernels are drawn, before the first step.

    Without biases at the start, the mean gate of an `identity_start` is then near 1,
    and every kernel has a gradient in the first step.
    """

    def on_train_begin(self, logs=None):
        if int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)):
            return
        for layer in self.model.layers:
            if isinstance(layer, SqueezeExcite):
                kernel = layer.expand.kernel
                kernel.assign(keras.initializers.HeNormal()(kernel.shape))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way(grid.Cell):
    """SE that starts and learns in one way.

    Attributes:
        key: What `--only` and `--best` call it.
        drawn: Whether the last kernels are `Drawn`.
        learning: Fields of the recipe.
    """

    key: str
    drawn: bool = False
    learning: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.key

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [Drawn()] if self.drawn else []

    def recipe(self, base: Recipe, seed: int) -> Recipe:
        return dataclasses.replace(super().recipe(base, seed), **self.learning)


def _ways():
    one = {"changes": {"identity_start": True}}
    near, sixteen = {**one, "drawn": True}, {"reduction": 16}
    yield Way(key="plain", label="no SE", changes={"se": False})
    yield Way(key="paper", label="gates near 1/2 (the paper)")
    yield Way(key="paper-16", label="gates near 1/2, r = 16", changes=sixteen)
    yield Way(key="identity", label="identity", **one)
    free, fast = {"se_decay": False}, {"se_rate_factor": 5.0}
    label = "identity, no decay of SE"
    yield Way(key="identity-free", label=label, **one, learning=free)
    yield Way(key="identity-rate", label="identity, rate x 5", **one, learning=fast)
    label = "identity, no decay, rate x 5"
    yield Way(key="identity-fast", label=label, **one, learning={**free, **fast})
    label, ten = "identity, rate x 10", {"se_rate_factor": 10.0}
    yield Way(key="identity-rate-10", label=label, **one, learning=ten)
    label, changes = "identity, r = 16, rate x 5", {**one["changes"], **sixteen}
    yield Way(key="identity-rate-16", label=label, changes=changes, learning=fast)
    yield Way(key="near", label="mean gate 1", **near)
    label = "mean gate 1, no decay of SE"
    yield Way(key="near-free", label=label, **near, learning=free)
    label, three = "mean gate 1, no decay, rate x 3", {**free, "se_rate_factor": 3.0}
    yield Way(key="near-fast", label=label, **near, learning=three)


WAYS = {way.key: way for way in _ways()}
FIXED = ("plain", "paper", "identity")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Starts:
    """Chooses how SE should start and learn, or compares the best way.

    Attributes:
        output: The folder of all runs, new, or of a comparison to resume.
        best: The way to compare with the plain network, the paper's start and the
            identity. Without it, ways are chosen.
        only: Choose among these ways only; the plain network is always there.
        seeds: Each network is trained once with each seed.
        epochs: Number of epochs, if not 10, or 40 with `best`.
        limit: Number of training images, if not 10,000, or all with `best`.
        dtype_policy: Keras' dtype policy of the trainings, if not float32.
            "mixed_bfloat16" is faster on a processor with AMX and slower on others.
        jobs: Number of trainings at a time, each in a process with one thread.
        data_dir: The folder of the data, if not the usual one.
        docs: A Markdown page; the table is written between its marks.
        smoke: Shrink each training to seconds, on the bundled images.
    """

    output: Path
    best: str | None = None
    only: tuple[str, ...] = tuple(WAYS)
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int | None = None
    limit: int | None = None
    dtype_policy: str | None = None
    jobs: int = 1
    data_dir: Path | None = None
    docs: Path | None = None
    smoke: bool = False

    def run(self) -> None:
        ways, base, folder = self.ways(), self.base(), self.output / self.kind
        split = grid.TEST if self.best else HELD_OUT
        # Seed by seed, so that a comparison that was stopped has something of each.
        works = [
            grid.Work(
                cell=way,
                recipe=way.recipe(base, seed),
                folder=folder / way.name / f"seed-{seed}",
                data_dir=self.data_dir,
                split=grid.TEST if self.smoke else split,
                uses=True,
            )
            for seed in self.seeds
            for way in ways
        ]
        workers.finish(
            works, self.jobs, self.output, lambda: self.write(ways, base, folder)
        )
        print(f"Written to {folder.with_suffix('.md')}")

    @property
    def kind(self) -> str:
        """The name of the table, its folder and its marks in a page."""
        return "starts" if self.best else "ways"

    def ways(self) -> list[Way]:
        """The ways that are trained, in the order of the table."""
        keys = {*FIXED, self.best} if self.best else {"plain", *self.only}
        unknown = sorted(keys - set(WAYS))
        if unknown:
            raise ValueError(
                f"`best` and `only` must be of {', '.join(WAYS)}. "
                f"Received: {', '.join(unknown)}"
            )
        return [way for key, way in WAYS.items() if key in keys]

    def base(self) -> Recipe:
        """The recipe that the ways change."""
        names = ("epochs", "limit", "dtype_policy")
        given = {name: getattr(self, name) for name in names}
        given = {name: value for name, value in given.items() if value is not None}
        recipe = dataclasses.replace(BASE if self.best else SHORT, **given)
        return recipe.smoke() if self.smoke else recipe

    def write(self, ways: Sequence[Way], base: Recipe, folder: Path) -> None:
        """Writes the table of what is done into its file and the page."""
        results = report.read(folder, ways, self.seeds)
        judges = "test images, used once" if self.best else "held-out images"
        text = table(results, ways, base, judges)
        # One seed more or less moves a mean as much as a way does.
        done = {n for n, e in results.errors.items() if len(e) == len(self.seeds)}
        new = [way for way in ways if way.name in done.difference(FIXED)]
        if new and not self.best:
            text += f"\n\nBest of the new ways: `{min(new, key=results.mean).name}`."
        with atomic_path(folder.with_suffix(".md"), overwrite=True) as path:
            path.write_text(f"# How SE starts and learns\n\n{text}\n", "utf-8")
        if self.docs is not None:
            write_block(self.docs, self.kind, text)


def table(
    results: report.Results, ways: Sequence[Way], base: Recipe, judges: str
) -> str:
    """Returns the comparison as Markdown.

    Args:
        results: What is done.
        ways: Its rows; the plain network is the first.
        base: How all were trained.
        judges: The images that the accuracy is of, in words.
    """
    images = f"{base.limit:,}" if base.limit else "all"
    lines = [
        f"SE-ResNet-20 on CIFAR-10, {images} training images, {base.epochs} epochs, "
        f"{base.dtype_policy}. "
        f"Top-1 accuracy in per cent on {results.images:,} {judges}; mean and standard "
        "deviation over the seeds. Gain: points over the network without SE, and the "
        "standard error. The other columns are means over the seeds, measured on "
        "held-out images: the points that all SE layers cost together, when each gate "
        "is 1 and when it is the mean of its channel; the layers that can each go for "
        "at most 0.1 points; the root mean square of gate - 1, and of gate - mean.",
        "",
        "| SE | parameters | accuracy | each seed | gain | without SE | mean gates "
        "| can go | gate - 1 | gate - mean |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for way in ways:
        facts = results.facts.get(way.name)
        cells = [way.label, f"{facts['parameters']:,}" if facts else ""]
        cells += results.accuracies(way)
        cells.append("" if way is ways[0] else _gain(results.gain(way, ways[0])))
        cells += _uses(results.uses.get(way.name))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(found):
    if found is None:
        return ""
    gain, error = found
    return f"{gain:+.2f}" if error is None else f"{gain:+.2f} ± {error:.2f}"


def _uses(found):
    if not found:
        return [""] * 5
    mean = {key: fmean(use[key] for use in found) for key in found[0]}
    return [
        f"{mean['identity']:.2f}",
        f"{mean['mean']:.2f}",
        f"{mean['dispensable']:.1f} of {mean['layers']:.0f}",
        f"{mean['distance']:.3f}",
        f"{mean['spread']:.3f}",
    ]


if __name__ == "__main__":
    workers.call(Starts)
